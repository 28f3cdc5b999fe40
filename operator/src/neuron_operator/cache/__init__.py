"""What the operator remembers between passes, and when that memory is too old to act on."""
