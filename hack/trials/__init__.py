"""Faults on the real local cluster: a tiny training of 2 pods x 2 ranks that things are done to.

Reading order: `cluster_fixture` (cluster, operator, data), `job` (one training and what can be seen of it), `processes`
and `faults` (what is done to it), `recovery` (`make bench-recovery`), `soak` (`make soak`). The tests of `make
test-faults` are in tests/e2e.
"""
