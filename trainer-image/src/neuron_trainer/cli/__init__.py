"""What `neuron-train` does beside training: one module per command, each returns an exit code of the contract."""
