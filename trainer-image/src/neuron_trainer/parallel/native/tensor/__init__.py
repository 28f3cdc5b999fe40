"""Tensor and sequence parallelism (B-6)."""
