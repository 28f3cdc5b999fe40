"""Pipeline stages and the order of micro-batches (B-7)."""
