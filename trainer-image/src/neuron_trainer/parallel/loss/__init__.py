"""The loss of a micro-batch, whatever the split (B-4, B-13)."""
