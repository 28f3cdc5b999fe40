"""Data: `rows` reads, `loader` deals rows out to processes and steps, `prepare` makes a data set from text."""
