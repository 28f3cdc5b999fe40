"""`kubectl neuron dashboard`: the jobs of a cluster for `neuron_dashboard`, with the rights of the kubeconfig."""
