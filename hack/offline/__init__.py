"""A Kubernetes cluster of real parts on one machine without Docker; docs/tasks/cluster-from-source.md is its page.

Reading order: `cluster.py` (up and down), `nodeprograms.py` (what runs on a node), then what they use. Programs,
certificates and the control plane are those of `hack/controlplane`, which tests have alone.
"""
