"""Which job is due when: a work queue with one pass per job at a time."""
