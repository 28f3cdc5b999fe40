"""The log directory of a run: which run it belongs to, what is in it, and what a start resumes from."""
