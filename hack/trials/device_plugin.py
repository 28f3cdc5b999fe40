"""A device plugin of the kubelet's own API (v1beta1) that advertises devices which are not there.

Messages are put together by hand: three fields of four messages do not ask for a compiler of protocol buffers.
`k8s.io/kubelet/pkg/apis/deviceplugin/v1beta1/api.proto` has their numbers.
"""

import threading
from collections.abc import Iterator
from concurrent import futures
from pathlib import Path
from typing import Any, Final

import grpc

_SERVICE: Final = "v1beta1.DevicePlugin"
_VERSION: Final = "v1beta1"
_EMPTY: Final = b""


class DevicePlugin:
    """Advertises `count` devices of a resource while it is open. Use as a context manager."""

    def __init__(self, folder: Path, resource: str, count: int) -> None:
        self._folder, self._resource, self._count = folder, resource, count
        self._socket = folder / f"{resource.rpartition('/')[2]}.sock"
        self._ended = threading.Event()
        self.allocated: list[tuple[str, ...]] = []
        """Names of the devices of each container that got some."""

    def __enter__(self) -> "DevicePlugin":
        self._socket.unlink(missing_ok=True)
        self._server = grpc.server(futures.ThreadPoolExecutor(4))
        self._server.add_generic_rpc_handlers((self._handlers(),))
        self._server.add_insecure_port(f"unix://{self._socket}")
        self._server.start()
        self._register()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._server.stop(1.0).wait()
        self._socket.unlink(missing_ok=True)

    def _register(self) -> None:
        request = _text(1, _VERSION) + _text(2, self._socket.name) + _text(3, self._resource)
        with grpc.insecure_channel(f"unix://{self._folder / 'kubelet.sock'}") as channel:
            channel.unary_unary("/v1beta1.Registration/Register")(request, timeout=10)

    def _handlers(self) -> Any:
        unary = grpc.unary_unary_rpc_method_handler
        methods = {
            "GetDevicePluginOptions": unary(lambda *_: _EMPTY),
            "ListAndWatch": grpc.unary_stream_rpc_method_handler(self._list),
            "GetPreferredAllocation": unary(lambda *_: _EMPTY),
            "Allocate": unary(self._allocate),
            "PreStartContainer": unary(lambda *_: _EMPTY),
        }
        return grpc.method_handlers_generic_handler(_SERVICE, methods)

    def _list(self, *_: object) -> Iterator[bytes]:
        """ListAndWatchResponse: repeated Device{ID, health}; nothing changes until the end."""
        devices = (_text(1, f"device-{number}") + _text(2, "Healthy") for number in range(self._count))
        yield b"".join(_field(1, device) for device in devices)
        self._ended.wait()

    def _allocate(self, request: bytes, _: object) -> bytes:
        """AllocateResponse: an empty ContainerAllocateResponse for each container; there is no file to mount."""
        containers = _parts(request)
        self.allocated += [tuple(name.decode() for name in _parts(container)) for container in containers]
        return b"".join(_field(1, _EMPTY) for _ in containers)


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, value: bytes) -> bytes:
    """A length-delimited field."""
    return bytes([number << 3 | 2]) + _varint(len(value)) + value


def _varint(number: int) -> bytes:
    low, rest = number & 0x7F, number >> 7
    return bytes([low | 0x80]) + _varint(rest) if rest else bytes([low])


def _parts(message: bytes) -> list[bytes]:
    """Return the values of the field 1 of a message that has no others."""
    found, at = [], 0
    while at < len(message):
        at += 1
        length = shift = 0
        while True:
            byte, at = message[at], at + 1
            length |= (byte & 0x7F) << shift
            shift += 7
            if not byte & 0x80:
                break
        found.append(message[at : at + length])
        at += length
    return found
