"""The process that starts the ranks: PID 1 of a pod, or what a person runs on a laptop.

`start` (one run from arguments to exit code) → `job_file` (the configuration) and `node` (which node this is) →
`training` (what needs torch) → `checkpoint_selector` (what to resume from), `directory_owner` (one run at a time),
`elastic/` (rounds of processes) → `worker.main`. Beside them: `status` and `server` (what is reported), `stop`
(signals), `termination` (how it ends).
"""
