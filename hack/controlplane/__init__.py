"""A Kubernetes control plane of real programs, for tests, trials and benchmarks; what is not there is built.

Reading order: `controlplane.py`, `toolchain.py` (the programs), then what they use. With nodes: `hack/offline`.
"""

from controlplane.controlplane import ControlPlane
from controlplane.errors import ClusterError, CommandFailed, MissingRequirement, StartFailed

__all__ = ["ClusterError", "CommandFailed", "ControlPlane", "MissingRequirement", "StartFailed"]
