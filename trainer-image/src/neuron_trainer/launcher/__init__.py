"""The process that starts the ranks: PID 1 of a pod, or what a person runs on a laptop.

`start` (one run from arguments to exit code) → `node` (who am I) → `supervisor` (new agents when pod 0 is lost) →
`agent` (torch's elastic agent with our rules) → `worker.main`. Beside them: `choice` of the checkpoint, `status` and
`server`, `stderr` (of the ranks), `stop` (signals), `termination` (the message that the kubelet keeps).
"""
