"""A release, built and installed: `make test-release`."""
