"""What went wrong: pods that ended, hangs, incidents, and what the failure table says of them."""
