"""What the processes of one node tell each other."""
