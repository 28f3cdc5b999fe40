"""What holds for all tests."""

from hypothesis import settings

# The same examples in every run, and no deadline: the machines are shared, a slow moment is no failure.
settings.register_profile("project", derandomize=True, deadline=None)
settings.load_profile("project")
