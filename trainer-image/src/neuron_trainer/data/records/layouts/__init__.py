"""What a record looks like: its fields, as text or messages, for one answer (`tuning`) or two (`preferences`)."""
