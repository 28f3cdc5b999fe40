"""Dtypes of parameters, gradients and sums (B-3)."""
