"""Commands on files, without a cluster: plan, convert, explain. Nothing here knows the Kubernetes client."""
