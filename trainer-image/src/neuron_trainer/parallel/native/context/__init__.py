"""Context parallelism: ring attention (B-6)."""
