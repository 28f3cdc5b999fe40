"""The informer cache: what the operator remembers of the cluster, how old that may be, and why acting on it is safe.

    what                            source                          may be old by              module
    pods of all jobs                one listing, then the watch     a moment; an outage        pod_watch, pod_store
    Services, ConfigMaps of a job   our own writes, one read        300 s (MAX_AGE_SECONDS)    cached_client
    claims that exist               one read                        300 s                      cached_client
    status of a job                 our own last write              1 s (WRITTEN_SECONDS)      cached_client
    jobs with nothing new           the last full pass              until something happens,   idle_jobs
                                                                    or its next full pass

Acting on it is safe for these reasons:

* **What cannot be taken back is decided on live reads.** A plan that deletes, restarts or ends something, or finds a
  name taken, is made again from what the API server says at that moment (`planning.cache_safety`).
* **What is done from memory is checked by the API server.** Names of pods are deterministic, so a second creation is
  refused; a delete carries a UID; a status is written over the version that was read, so an old one is a conflict.
* **A pod that is over never runs again**: it may be recorded as lost, deleted by its UID and replaced, however old
  the memory is. A successor waits for a Service that somebody deleted; the pass after that asks for everything but
  pods.
* **A missed event does not last.** A watch that ends goes on from its last version, or with a new listing that shows
  what was missed as a difference. Each stream and each wait has a bound. At every resync the versions of all jobs are
  compared with those that events brought: a change that no event reported ends the process, and a new one starts
  (`pod_watch.WatchStalenessDetector`).
* **Idleness ends by itself.** An event, another report or the next due time ends it; every idle job has a full pass
  from time to time all the same.

`pod_watch.EventCoalescer` decides how soon a pod event leads to a pass: failures at once, anything else together
after 0.2 s. Figures: docs/design/012-operator-speed.md.
"""
