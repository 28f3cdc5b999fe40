"""A cluster of kind (Kubernetes in a Docker container) that the demo and `make images` use: CLUSTER=kind."""
