"""Jobs of this machine without a cluster: `neuron-train run` in a process and a folder of its own for each."""
