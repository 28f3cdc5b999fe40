"""What follows from a configuration: pure functions, one module per question; `plan` combines the answers.

Symbols are those of docs/reference/behaviours.md: TP, PP, CP, EP, DP are the parallel sizes; T are the tokens of a
micro-batch on one process.
"""
