"""Bring a built image into the local cluster, once."""

from __future__ import annotations

import json

from imagebuild.builder import Builder
from offline import imageload
from offline.cluster import Cluster


def load(cluster: Cluster, builder: Builder, image: str) -> bool:
    """Import `image`, also as `:dev`; False if this cluster has it already."""
    record = cluster.state / "images.json"
    loaded: list[str] = json.loads(record.read_text()) if record.exists() else []
    if image in loaded:
        return False
    imageload.load_named(cluster.state, image, builder.program)
    imageload.tag(cluster.state, image, image.rpartition(":")[0] + ":dev")
    record.write_text(json.dumps([*loaded, image]))
    return True
