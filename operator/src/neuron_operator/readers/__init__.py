"""Live reads for one pass: the job, its nodes, its gang scheduler, the progress of its pods."""
