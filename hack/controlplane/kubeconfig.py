"""Kubeconfig files: one server, one identity, everything embedded so that the file can be moved."""

from __future__ import annotations

import base64
from pathlib import Path

from controlplane.certificates import KeyPair

_TEMPLATE = """\
apiVersion: v1
kind: Config
current-context: local
clusters:
- name: local
  cluster:
    server: {server}
    certificate-authority-data: {authority}
contexts:
- name: local
  context: {{cluster: local, user: local}}
users:
- name: local
  user:
    client-certificate-data: {certificate}
    client-key-data: {key}
"""


def write(path: Path, *, server: str, authority: Path, identity: KeyPair) -> Path:
    """Write a kubeconfig, readable by its owner alone: it holds a key."""
    text = _TEMPLATE.format(
        server=server,
        authority=_embedded(authority),
        certificate=_embedded(identity.certificate),
        key=_embedded(identity.key),
    )
    path.touch(mode=0o600)
    path.write_text(text)
    return path


def _embedded(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()
