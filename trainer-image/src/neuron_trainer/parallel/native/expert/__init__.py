"""Expert parallelism (B-12)."""
