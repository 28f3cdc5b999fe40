"""The compile phase: what a run needs is compiled before it begins, once for all runs with the same fingerprint.

It runs in the processes of the run, on their devices and with their split, and trains a model of its own on random
tokens; the processes end with it, so that nothing of it reaches the run (docs/design/025-compile-phase.md).
"""
