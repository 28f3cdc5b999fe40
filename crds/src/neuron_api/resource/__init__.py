"""NeuronTrainingJob as Kubernetes stores it: spec, status, and what the pods report."""
