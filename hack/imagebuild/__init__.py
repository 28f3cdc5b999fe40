"""Builds the project's two images and brings them into the local cluster. Start at `command.py`."""
