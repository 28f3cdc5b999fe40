#!/usr/bin/env python3
"""Stand-ins for the CUDA libraries, so that PyTorch's CUDA build runs on a CPU without 2.4 GB of them.

Only for networks that reach a package index but not PyTorch's CPU wheels; everybody else installs those.
The index's torch links fifteen CUDA libraries and does not load without them, even for CPU work. After
`pip install --no-deps torch` this writes, for each missing library, one whose functions return 0, next to
PyTorch's own libraries, where its search path looks first. `torch.cuda.is_available()` is then False, and
everything that is not CUDA works. The libraries are written directly, so no compiler is needed.

    python3 hack/torch_cuda_stubs.py                              for the environment of this python3
    python3 hack/torch_cuda_stubs.py --site-packages DIR          for another one
    python3 hack/torch_cuda_stubs.py --site-packages DIR --remove

Does nothing where no library is missing, and never replaces a real one.
"""

from __future__ import annotations

import argparse
import ctypes
import struct
import sysconfig
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_MARK = b"stand-in written by torch_cuda_stubs.py\0"
_PAGE = 0x1000
_DYNAMIC, _DYNSYM, _VERNEED, _VERSYM = 6, 11, 0x6FFFFFFE, 0x6FFFFFFF
_DT_NULL, _DT_NEEDED, _DT_HASH, _DT_STRTAB, _DT_SYMTAB, _DT_STRSZ, _DT_SYMENT, _DT_SONAME = 0, 1, 4, 5, 6, 10, 11, 14
_DT_VERSYM, _DT_VERDEF, _DT_VERDEFNUM = 0x6FFFFFF0, 0x6FFFFFFC, 0x6FFFFFFD
_NVIDIA = ("libcu", "libnccl", "libnv")
"""How the libraries' names begin; anything else that is missing is the machine's fault and stays an error."""

_RETURN_ZERO = {62: bytes.fromhex("31c0c3"), 183: bytes.fromhex("00008052c0035fd6")}
"""`return 0` by ELF machine: x86-64, aarch64."""


@dataclass(frozen=True)
class Symbol:
    """A symbol that a library takes from another one; `file` and `version` are empty where it does not say."""

    name: str
    file: str = ""
    version: str = ""


@dataclass
class Library:
    """What the dynamic tables of a shared library say."""

    machine: int
    needed: list[str] = field(default_factory=list)
    wanted: list[Symbol] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)


def read(path: Path) -> Library:
    """Parse a 64-bit little-endian shared library."""
    data = memoryview(path.read_bytes())
    machine = struct.unpack_from("<H", data, 18)[0]
    start, size, count = struct.unpack_from("<Q", data, 40)[0], *struct.unpack_from("<HH", data, 58)
    sections = [struct.unpack_from("<IIQQQQIIQQ", data, start + size * number) for number in range(count)]
    library = Library(machine)
    versions: dict[int, tuple[str, str]] = {}
    indexes: tuple[int, ...] = ()
    for _, kind, _, _, offset, length, link, info, _, _ in sections:
        if kind == _DYNAMIC:
            pairs = struct.iter_unpack("<QQ", data[offset : offset + length])
            library.needed += [_string(data, sections[link][4] + value) for tag, value in pairs if tag == _DT_NEEDED]
        elif kind == _VERNEED:
            versions = dict(_versions(data, offset, info, sections[link][4]))
        elif kind == _VERSYM:
            indexes = struct.unpack_from(f"<{length // 2}H", data, offset)
    for _, kind, _, _, offset, length, link, _, _, _ in sections:
        if kind == _DYNSYM:
            for number, entry in enumerate(struct.iter_unpack("<IBBHQQ", data[offset : offset + length])):
                name, binding, defined = _string(data, sections[link][4] + entry[0]), entry[1] >> 4, entry[3] != 0
                if defined:
                    library.defined.add(name)
                elif name and binding == 1:
                    index = indexes[number] & 0x7FFF if indexes else 0
                    library.wanted.append(Symbol(name, *versions.get(index, ("", ""))))
    return library


def _versions(data: memoryview, offset: int, count: int, strings: int) -> Iterator[tuple[int, tuple[str, str]]]:
    for _ in range(count):
        _, entries, file, auxiliary, following = struct.unpack_from("<HHIII", data, offset)
        where = offset + auxiliary
        for _ in range(entries):
            _, _, index, name, step = struct.unpack_from("<IHHII", data, where)
            yield index, (_string(data, strings + file), _string(data, strings + name))
            where += step
        offset += following


def _string(data: memoryview, offset: int) -> str:
    end = offset
    while data[end]:
        end += 1
    return bytes(data[offset:end]).decode()


def write(path: Path, machine: int, symbols: list[Symbol]) -> None:
    """A shared library that defines `symbols`, each in its version, as functions that return 0."""
    strings = bytearray(b"\0")

    def string(text: str) -> int:
        strings.extend(text.encode() + b"\0")
        return len(strings) - len(text) - 1

    versions = [path.name, *sorted({symbol.version for symbol in symbols} - {""})]
    table, versym, definitions, code = bytearray(24), bytearray(2), bytearray(), 64 + 56 * 4
    for symbol in symbols:
        table += struct.pack("<IBBHQQ", string(symbol.name), 0x12, 0, 1, code, 8)
        versym += struct.pack("<H", versions.index(symbol.version) + 1 if symbol.version else 1)
    for number, version in enumerate(versions, start=1):
        following = 0 if number == len(versions) else 28
        definitions += struct.pack("<HHHHIII", 1, int(number == 1), number, 1, _hash(version), 20, following)
        definitions += struct.pack("<II", string(version), 0)
    soname = string(path.name)
    parts = [_RETURN_ZERO[machine] + _MARK, table, _hash_table(symbols), versym, definitions, strings]
    offsets, end = [], code
    for part in parts:
        end += -end % 8
        offsets.append(end)
        end += len(part)
    _, symtab, hashes, version_index, version_definitions, strtab = offsets
    dynamic_at = end + -end % _PAGE
    entries = [
        (_DT_SONAME, soname), (_DT_HASH, hashes), (_DT_STRTAB, strtab), (_DT_SYMTAB, symtab), (_DT_STRSZ, len(strings)),
        (_DT_SYMENT, 24), (_DT_VERSYM, version_index), (_DT_VERDEF, version_definitions),
        (_DT_VERDEFNUM, len(versions)), (_DT_NULL, 0),
    ]  # fmt: skip
    dynamic = b"".join(struct.pack("<QQ", *entry) for entry in entries)
    image = bytearray(dynamic_at) + dynamic
    image[:64] = (
        b"\x7fELF\x02\x01\x01"
        + bytes(9)
        + struct.pack("<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, 0, 0, 64, 56, 4, 0, 0, 0)
    )
    read_run, read_write = 5, 6
    segments = [
        (1, read_run, 0, end, _PAGE), (1, read_write, dynamic_at, len(dynamic), _PAGE),
        (2, read_write, dynamic_at, len(dynamic), 8), (0x6474E551, read_write, 0, 0, 16),
    ]  # fmt: skip
    for number, (kind, flags, offset, length, align) in enumerate(segments):
        struct.pack_into(
            "<IIQQQQQQ", image, 64 + 56 * number, kind, flags, offset, offset, offset, length, length, align
        )
    for offset, part in zip(offsets, parts, strict=True):
        image[offset : offset + len(part)] = part
    path.write_bytes(image)
    path.chmod(0o755)


def _hash(name: str) -> int:
    """The System V ABI's symbol hash."""
    value = 0
    for byte in name.encode():
        value = (value << 4) + byte
        value = (value ^ (value & 0xF0000000) >> 24) & 0x0FFFFFFF
    return value


def _hash_table(symbols: list[Symbol]) -> bytes:
    buckets, chains = [0] * (len(symbols) // 2 + 1), [0] * (len(symbols) + 1)
    for index, symbol in enumerate(symbols, start=1):
        bucket = _hash(symbol.name) % len(buckets)
        chains[index], buckets[bucket] = buckets[bucket], index
    return struct.pack(f"<II{len(buckets) + len(chains)}I", len(buckets), len(chains), *buckets, *chains)


def missing(site_packages: Path) -> dict[str, tuple[int, list[Symbol]]]:
    """For each library that PyTorch needs and nobody has: the machine and the symbols to define."""
    directory = site_packages / "torch" / "lib"
    libraries = [read(path) for path in sorted(directory.glob("*.so*")) if not _is_ours(path)]
    installed = {path.name for path in (site_packages / "nvidia").rglob("*.so*")}
    installed |= {path.name for path in directory.glob("*.so*") if not _is_ours(path)}
    defined = set[str]().union(*(library.defined for library in libraries))
    found: dict[str, tuple[int, set[Symbol]]] = {}
    for library in libraries:
        system = {name: _system(name) for name in library.needed if name not in installed}
        lacking = [name for name, handle in system.items() if handle is None and name.startswith(_NVIDIA)]
        present = [handle for handle in system.values() if handle is not None]
        for name in lacking:
            found.setdefault(name, (library.machine, set()))
        for symbol in library.wanted:
            if symbol.file in lacking:
                found[symbol.file][1].add(symbol)
            elif lacking and not symbol.file and symbol.name not in defined and not _defines(present, symbol.name):
                found[lacking[0]][1].add(symbol)  # it does not matter which: all are searched
    order = sorted(found.items())
    return {name: (machine, sorted(symbols, key=lambda s: (s.name, s.version))) for name, (machine, symbols) in order}


def _is_ours(path: Path) -> bool:
    return path.stat().st_size < 1 << 20 and _MARK in path.read_bytes()


def _system(name: str) -> ctypes.CDLL | None:
    try:
        return ctypes.CDLL(name)
    except OSError:
        return None


def _defines(libraries: list[ctypes.CDLL], symbol: str) -> bool:
    """Whether one of them has it, or this process: libtorch_python takes the interpreter's own."""
    return any(hasattr(library, symbol) for library in [ctypes.CDLL(None), *libraries])


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--site-packages", type=Path, default=Path(sysconfig.get_path("purelib")))
    parser.add_argument(
        "--remove", action="store_true", help="delete the stand-ins, before real libraries are installed"
    )
    options = parser.parse_args()
    directory = options.site_packages / "torch" / "lib"
    if not directory.is_dir():
        parser.error(f"no PyTorch in {options.site_packages}")
    for path in directory.glob("*.so*"):
        if _is_ours(path):
            path.unlink()
    if options.remove:
        return
    for name, (machine, symbols) in missing(options.site_packages).items():
        write(directory / name, machine, symbols)
        print(f"{name}: {len(symbols)} functions")


if __name__ == "__main__":
    main()
