"""What tells data sets apart: a digest of all tokens and labels, in sample order."""

from typing import Final

import torch
import xxhash

from .samples import Samples

_CHUNK: Final = 256
"""Samples that are read at once."""


def fingerprint(samples: Samples) -> str:
    """Return the digest, in hex. Samples may have a faster one of their own, a method of this name."""
    own = getattr(samples, "fingerprint", None)
    if callable(own):
        return str(own())
    digest = xxhash.xxh3_128()
    for first in range(0, len(samples), _CHUNK):
        batch = samples.take(range(first, min(first + _CHUNK, len(samples))))
        for name in sorted(batch):
            digest.update(f"{name} {tuple(batch[name].shape)}".encode())
            digest.update(batch[name].to(torch.int64).contiguous().numpy().tobytes())
    return digest.hexdigest()
