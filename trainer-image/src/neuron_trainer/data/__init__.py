"""Data: `source` opens samples, `loader` distributes them over processes and steps, `prepare` makes a data set."""
