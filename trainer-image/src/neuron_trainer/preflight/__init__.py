"""What can be known to be wrong before any process is started."""
