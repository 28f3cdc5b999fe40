"""`make demo`: the whole path on real parts, with two faults in the middle.

Reading order: `command` (arguments, time taken), `setting` (where it runs: the local cluster or the current one),
`story` (the demo from top to bottom), then what it calls: `data`, `faults`, `watch`, `report`, all through `kubectl`.
"""
