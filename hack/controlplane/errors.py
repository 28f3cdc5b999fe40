"""What can go wrong, as a person reads it.

ClusterError          the message says what, and what to do; commands print it and exit 1
├── MissingRequirement     the machine lacks something (root, Linux, Go, a package)
├── StartFailed            a program did not become ready in time, or ended; names its log
└── CommandFailed          a program that we ran to its end exited with an error
"""

from __future__ import annotations


class ClusterError(Exception):
    """Base of everything this package raises on purpose."""


class MissingRequirement(ClusterError):
    """The machine lacks something; the message says what works without it."""


class StartFailed(ClusterError):
    """A program of the cluster did not become ready."""


class CommandFailed(ClusterError):
    """A helper program (openssl, ip, kubectl, ctr, …) exited with an error."""
