"""Checks before any process is started: `early` needs no torch, `preflight` a model and the data, `cpu` advises."""
