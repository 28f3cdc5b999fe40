"""What follows from a configuration: pure functions, one module for each question; `plan` puts the answers together.

Symbols are those of docs/reference/behaviours.md: TP, PP, CP, EP, DP; T tokens of a micro-batch on one process.
"""
