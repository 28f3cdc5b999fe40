"""Numbers of finished steps: read late, logged, kept, shown."""
