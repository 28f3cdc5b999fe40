"""SHA256SUMS over the files of a release, and its signature with a key that is given.

An ECDSA or RSA signature of SHA-256 in base64: what `openssl dgst -verify` and `cosign verify-blob` both read.
"""

from __future__ import annotations

import base64
import hashlib
import subprocess
from pathlib import Path

from controlplane.errors import CommandFailed

SUMS, SIGNATURE, KEY = "SHA256SUMS", "SHA256SUMS.sig", "release.pub"


def write(folder: Path) -> Path:
    """Write the sums of all files beside it, in the form that `sha256sum -c` reads."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name not in (SUMS, SIGNATURE, KEY))
    path = folder / SUMS
    path.write_text("".join(f"{_digest(file)}  {file.name}\n" for file in files))
    (folder / SIGNATURE).unlink(missing_ok=True)  # of other sums
    return path


def check_key(key: Path) -> None:
    """Refuse a key that cannot sign: before the minutes that a build takes. Raises `CommandFailed`."""
    _public_half(key)


def sign(folder: Path, key: Path) -> Path:
    """Sign the sums with a private key in PEM form, and write its public half beside them."""
    (folder / KEY).write_bytes(_public_half(key))
    signature = _openssl("dgst", "-sha256", "-sign", str(key), str(folder / SUMS))
    path = folder / SIGNATURE
    path.write_bytes(base64.b64encode(signature) + b"\n")
    return path


def _public_half(key: Path) -> bytes:
    """Of a key without a passphrase; openssl would ask for one."""
    return _openssl("pkey", "-in", str(key), "-pubout", "-passin", "pass:")


def _digest(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def _openssl(*arguments: str) -> bytes:
    done = subprocess.run(["openssl", *arguments], capture_output=True, check=False)
    if done.returncode:
        words = done.stderr.decode(errors="replace").strip().splitlines()
        reason = words[0] if words else "it does not say why"
        raise CommandFailed(
            f"openssl {arguments[0]} failed: {reason}. The key must be an EC (P-256) or RSA key in PEM form without a "
            "passphrase: openssl ecparam -genkey -name prime256v1 -noout -out key.pem"
        )
    return done.stdout
