"""Data parallelism: sharded states, buckets."""
