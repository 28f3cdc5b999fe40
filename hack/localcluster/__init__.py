"""A Kubernetes cluster of real parts on one machine, and its control plane alone for tests.

Reading order: `controlplane.py` (tests), `cluster.py` (up and down), then what they use.
"""

from localcluster.controlplane import ControlPlane
from localcluster.errors import CommandFailed, LocalClusterError, MissingRequirement, StartFailed

__all__ = ["CommandFailed", "ControlPlane", "LocalClusterError", "MissingRequirement", "StartFailed"]
