"""Certificates of one cluster, made with openssl: an authority and one leaf per identity.

Elliptic keys, because a cluster needs eight of them and an RSA key costs up to a second here. Every
program has its own identity, as in a cluster made by kubeadm, so that RBAC, the node authorizer and
NodeRestriction are really in force.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from controlplane.shell import run

_DAYS = "365"


@dataclass(frozen=True)
class KeyPair:
    """A certificate and its key, as files."""

    certificate: Path
    key: Path


class Authority:
    """A certificate authority that lives in a directory and signs leaves into it."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._directory = directory
        self.certificate = directory / "ca.crt"
        self._key = directory / "ca.key"
        if not self.certificate.exists():
            _new_key(self._key)
            run("openssl", "req", "-x509", "-new", "-key", self._key, "-days", _DAYS, "-subj", "/CN=local-cluster",
                "-addext", "basicConstraints=critical,CA:TRUE", "-out", self.certificate)  # fmt: skip

    def leaf(self, name: str, *, user: str, group: str = "", hosts: tuple[str, ...] = ()) -> KeyPair:
        """A certificate for user and group; with `hosts` (names or addresses) it also serves under them."""
        pair = KeyPair(self._directory / f"{name}.crt", self._directory / f"{name}.key")
        if pair.certificate.exists():
            return pair
        _new_key(pair.key)
        subject = (f"/O={group}" if group else "") + f"/CN={user}"
        request = run("openssl", "req", "-new", "-key", pair.key, "-subj", subject)
        extensions = self._directory / f"{name}.ext"
        extensions.write_text(_extensions(hosts))
        run("openssl", "x509", "-req", "-CA", self.certificate, "-CAkey", self._key, "-set_serial", _serial(name),
            "-days", _DAYS, "-extfile", extensions, "-out", pair.certificate, stdin=request)  # fmt: skip
        extensions.unlink()
        return pair

    def signing_key(self, name: str) -> KeyPair:
        """A bare key for service account tokens; its `certificate` is only the public half."""
        pair = KeyPair(self._directory / f"{name}.pub", self._directory / f"{name}.key")
        if not pair.certificate.exists():
            _new_key(pair.key)
            run("openssl", "pkey", "-in", pair.key, "-pubout", "-out", pair.certificate)
        return pair


def _new_key(path: Path) -> None:
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)
    path.chmod(0o600)


def _serial(name: str) -> str:
    return "0x" + name.encode().hex()[:32]


def _extensions(hosts: tuple[str, ...]) -> str:
    lines = ["basicConstraints=CA:FALSE", "keyUsage=digitalSignature", "extendedKeyUsage=clientAuth,serverAuth"]
    if hosts:
        names = [("IP:" if host.replace(".", "").isdigit() else "DNS:") + host for host in hosts]
        lines.append("subjectAltName=" + ",".join(names))
    return "\n".join(lines) + "\n"
