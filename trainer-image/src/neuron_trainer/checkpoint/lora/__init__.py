"""Adapters in checkpoints: the manifest's `entry`, the `base` they belong to, `merge` with it, and PEFT's files."""
