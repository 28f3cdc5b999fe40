"""Container images of one static program, written as an OCI archive: no builder and no registry needed."""

from __future__ import annotations

import hashlib
import io
import json
import platform
import tarfile
from pathlib import Path
from typing import Any

_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}

LAYOUT = b'{"imageLayoutVersion": "1.0.0"}'
"""Content of the file `oci-layout`, which makes an archive an OCI one."""


def write(archive: Path, *, image: str, program: Path) -> None:
    """An image whose only file is `/<program's name>`, which it runs."""
    entry = f"/{program.name}"
    layer = _tar({entry.lstrip("/"): program.read_bytes()}, mode=0o755)
    architecture = _ARCHITECTURES.get(platform.machine(), platform.machine())
    config = _json({
        "architecture": architecture,
        "os": "linux",
        "config": {"Entrypoint": [entry]},
        "rootfs": {"type": "layers", "diff_ids": [_digest(layer)]},
    })  # fmt: skip
    oci = "application/vnd.oci.image"
    manifest = _json({
        "schemaVersion": 2,
        "mediaType": f"{oci}.manifest.v1+json",
        "config": reference(f"{oci}.config.v1+json", config),
        "layers": [reference(f"{oci}.layer.v1.tar", layer)],
    })  # fmt: skip
    named = reference(f"{oci}.manifest.v1+json", manifest) | {
        "annotations": {"io.containerd.image.name": image},
        "platform": {"architecture": architecture, "os": "linux"},
    }
    files = {
        "oci-layout": LAYOUT,
        "index.json": _json({"schemaVersion": 2, "manifests": [named]}),
    }
    for blob in (layer, config, manifest):
        files["blobs/sha256/" + _digest(blob).removeprefix("sha256:")] = blob
    archive.write_bytes(_tar(files, mode=0o644))


def reference(media_type: str, blob: bytes) -> dict[str, Any]:
    """An OCI descriptor."""
    return {"mediaType": media_type, "digest": _digest(blob), "size": len(blob)}


def _digest(blob: bytes) -> str:
    return "sha256:" + hashlib.sha256(blob).hexdigest()


def _json(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True).encode()


def _tar(files: dict[str, bytes], *, mode: int) -> bytes:
    """A tar without times and owners: the same content is the same image."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in files.items():
            add(tar, name, data, mode)
    return buffer.getvalue()


def add(tar: tarfile.TarFile, name: str, data: bytes, mode: int = 0o644) -> None:
    """Append a file to a tar."""
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(data), mode
    tar.addfile(entry, io.BytesIO(data))
