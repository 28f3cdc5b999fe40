"""Make the stand-in: compiled once for each source, PyTorch and Python, in the cache of the other built programs."""

import fcntl
import os
import shutil
import subprocess
import sysconfig
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from controlplane.locations import cache_directory, fingerprint

_HERE: Final = Path(__file__).parent
_FLAGS: Final = ("-O1", "-shared", "-fPIC", "-std=c++20", "-fvisibility=hidden", "-DTORCH_EXTENSION_NAME=_C")


def folder() -> Path:
    """Return a folder for PYTHONPATH: with it PyTorch loads the stand-in by itself. Made at the first call (a minute).

    Raises RuntimeError where it cannot be built.
    """
    compiled = _compiled()
    files = sorted(one for one in (_HERE / "site").rglob("*") if one.is_file() and one.suffix != ".pyc")
    parts = [str(one.relative_to(_HERE)).encode() + one.read_bytes() for one in files]
    target = _cache() / f"site-{fingerprint(compiled.name, *parts)}"
    with _locked(target):
        if not target.exists():
            scratch = target.with_suffix(".part")
            shutil.rmtree(scratch, ignore_errors=True)
            shutil.copytree(_HERE / "site", scratch, ignore=shutil.ignore_patterns("__pycache__"))
            shutil.copy(compiled, scratch / "torch_neuronx" / "_C.so")
            scratch.rename(target)
    return target


def environment(site: Path, **variables: str) -> dict[str, str]:
    """Return the variables of a process that has the stand-in: this process's own, and those a launcher sets."""
    paths = [str(site), *filter(None, [os.environ.get("PYTHONPATH")])]
    own = {
        "PYTHONPATH": os.pathsep.join(paths),
        "TORCH_NEURONX_ENABLE_HOST_CC": "1",
        "TORCH_NEURONX_FALLBACK_ONLY_FOR_UNIMPLEMENTED_OPS": "1",
        "GLOO_SOCKET_IFNAME": "lo",
    }
    return {**os.environ, **own, **variables}


def _cache() -> Path:
    folder = cache_directory() / "neuron-device"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _compiled() -> Path:
    sources = sorted((_HERE / "source").iterdir())
    soabi = sysconfig.get_config_var("SOABI")
    key = fingerprint(*(one.read_bytes() for one in sources), version("torch"), soabi, *_FLAGS)
    target = _cache() / f"compiled-{key}.so"
    with _locked(target):
        if not target.exists():
            scratch = target.with_suffix(".part")
            _compile(_HERE / "source" / "module.cpp", scratch)
            scratch.rename(target)
    return target


def _compile(source: Path, target: Path) -> None:
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None:
        raise RuntimeError(
            "The stand-in of a Neuron device is compiled: install g++ 11 or newer (apt-get install g++), or name a "
            "compiler in CXX."
        )
    spec = find_spec("torch")
    assert spec is not None and spec.submodule_search_locations is not None
    torch = Path(spec.submodule_search_locations[0])
    headers = [torch / "include", torch / "include/torch/csrc/api/include", Path(sysconfig.get_paths()["include"])]
    command = [compiler, *_FLAGS, *(f"-isystem{one}" for one in headers), str(source), "-o", str(target)]
    libraries = [f"-L{torch}/lib", "-lc10", "-ltorch_cpu", "-ltorch_python", f"-Wl,-rpath,{torch}/lib"]
    done = subprocess.run([*command, *libraries], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The stand-in of a Neuron device does not compile:\n{done.stderr[-4000:]}")


class _locked:
    """One process makes a file; others wait for it."""

    def __init__(self, target: Path) -> None:
        self._path = target.with_suffix(".lock")

    def __enter__(self) -> None:
        self._file = self._path.open("w")
        fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        self._file.close()
