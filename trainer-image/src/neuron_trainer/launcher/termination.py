"""The message that the kubelet keeps of a container (at most 4096 bytes)."""

import os
from typing import Final

from neuron_api import contract

_CUT: Final = "[…]\n"


def write(text: str, path: str = contract.TERMINATION_LOG) -> None:
    """Nothing happens outside of a pod, where there is no such file."""
    if os.access(path, os.W_OK):
        with open(path, "wb") as file:  # noqa: PTH123  a device-like file: never replaced, never created
            file.write(shorten(text))


def shorten(text: str, limit: int = contract.TERMINATION_MESSAGE_LIMIT) -> bytes:
    """The first line says what happened and the end of a traceback says why: cut in the middle."""
    data = text.encode(errors="replace")
    if len(data) <= limit:
        return data
    head = data.partition(b"\n")[0][: limit // 4].decode(errors="ignore")
    start = f"{head}\n{_CUT}".encode()
    tail = data[-(limit - len(start)) :].decode(errors="ignore")
    return start + tail.encode()
