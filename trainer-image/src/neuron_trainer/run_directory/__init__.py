"""The log directory of a run: whose it is, what is in it, and what a start takes up from it."""
