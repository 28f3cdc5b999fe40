#!/usr/bin/env python3
"""Install a lock file, with PyTorch from where this network has it. Runs inside image builds.

Without options this is `uv pip install --require-hashes -r LOCK`: the package index's PyTorch, with its
CUDA libraries. `--torch-index-url` takes the same version from another index (PyTorch's own CPU wheels:
a tenth of the size); `--torch-cuda-stubs` takes the package index's and leaves the CUDA libraries out,
with stand-ins (torch_cuda_stubs.py, beside this file as in an image's build, or in the folder above).

Everything else of the lock is installed with its hash. A PyTorch from another index is another file than
the locked one, so it is checked by version alone.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from pathlib import Path

_CUDA = re.compile(r"nvidia-|cuda-|triton$")


def entries(lock: str) -> dict[str, str]:
    """The lock's entries by name; an entry goes on while lines end with a backslash."""
    found: dict[str, str] = {}
    for entry in re.split(r"(?<!\\)\n", lock):
        if named := re.match(r"([A-Za-z0-9_.-]+)==", entry):
            # Universal locks name some packages twice, for different Pythons.
            found[named[1]] = found.get(named[1], "") + entry + "\n"
    return found


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("lock", type=Path)
    parser.add_argument("--uv", default="uv", help="the uv program")
    parser.add_argument("--python", required=True, help="interpreter of the environment to install into")
    parser.add_argument("--torch-index-url", default="", help="index that PyTorch comes from")
    parser.add_argument("--torch-cuda-stubs", action="store_true", help="no CUDA libraries, stand-ins instead")
    options = parser.parse_args()
    install = [options.uv, "pip", "install", "--quiet", "--python", options.python]
    if not options.torch_index_url and not options.torch_cuda_stubs:
        _run([*install, "--require-hashes", "--requirements", str(options.lock)])
        return
    wanted = {name: entry for name, entry in entries(options.lock.read_text()).items() if not _CUDA.match(name)}
    if options.torch_index_url:
        version = wanted.pop("torch").split(" ")[0].strip()
        _run([*install, "--no-deps", "--index-url", options.torch_index_url, version])
    _run([*install, "--no-deps", "--require-hashes", "--requirements", "-"], stdin="".join(wanted.values()))
    if options.torch_cuda_stubs:
        _run([options.python, str(_stubs())])


def _stubs() -> Path:
    beside = Path(__file__).with_name("torch_cuda_stubs.py")
    return beside if beside.exists() else beside.parents[1] / beside.name


def _run(command: list[str], stdin: str | None = None) -> None:
    done = subprocess.run(command, input=stdin, text=True, check=False)
    if done.returncode != 0:
        sys.exit(done.returncode)


if __name__ == "__main__":
    main()
