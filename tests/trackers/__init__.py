"""Runs that are tracked by the real MLflow and W&B: `make test-trackers`."""
