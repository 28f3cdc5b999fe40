"""The operator: keeps NeuronTrainingJobs doing what their spec says. Reading order: operator/README.md."""
