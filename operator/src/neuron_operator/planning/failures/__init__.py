"""What went wrong: pods that ended, hangs, crash loops, and what the failure table says of them."""
