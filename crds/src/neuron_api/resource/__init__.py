"""NeuronTrainingJob as Kubernetes stores it: spec, status, and the reports of the pods."""
