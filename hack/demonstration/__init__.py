"""`make demo`: the whole path on real parts, with a fault in the middle. Reading order: story.py, then what it calls."""
