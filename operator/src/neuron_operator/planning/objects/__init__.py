"""The Kubernetes objects of one attempt of a job."""
