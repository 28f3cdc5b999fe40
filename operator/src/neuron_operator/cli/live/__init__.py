"""Commands on a job of a cluster: status, why, logs, checkpoints, suspend, resume.

`connection` alone knows the Kubernetes client, and `screen` alone a terminal; both are imported when they are needed.
"""
