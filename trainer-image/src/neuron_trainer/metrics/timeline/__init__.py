"""Where the time of a run goes: measured by a worker, put together by its launcher, kept in the log directory."""
