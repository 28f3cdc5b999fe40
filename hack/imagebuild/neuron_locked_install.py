#!/usr/bin/env python3
"""Make an environment with a lock file and, beside it, what only the Neuron index has. Runs inside image builds.

What is locked is installed first, with its hashes (locked_install.py); what has none to lock may not replace any of it.
The base image gives the runtime library, the collectives and the interpreter, not its own Python packages.
"""

from __future__ import annotations

import argparse
import ctypes
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path


def main() -> None:
    """Entry point."""
    options = _parser().parse_args()
    _check(options)
    environment = str(options.environment / "bin" / "python")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(options.environment)], check=True)
    stubs = ["--torch-cuda-stubs"] if options.torch_cuda_stubs else []
    locked = [sys.executable, str(Path(__file__).with_name("locked_install.py")), "--uv", options.uv]
    locked += ["--python", environment, "--torch-index-url", options.torch_index_url, *stubs, str(options.lock)]
    subprocess.run(locked, check=True)
    frozen = subprocess.run(
        [options.uv, "pip", "freeze", "--python", environment], check=True, stdout=subprocess.PIPE, text=True
    )
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as constraints:
        constraints.write(frozen.stdout)
        constraints.flush()
        install = [options.uv, "pip", "install", "--quiet", "--python", environment]
        install += ["--extra-index-url", options.neuron_index_url, "--constraint", constraints.name]
        subprocess.run([*install, *(["--no-deps"] if stubs else []), *options.package], check=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("environment", type=Path, help="folder of the environment to make")
    parser.add_argument("lock", type=Path)
    parser.add_argument("package", nargs="+", help="of the Neuron index, with its bounds")
    parser.add_argument("--uv", required=True, help="the uv program")
    parser.add_argument("--pythons", required=True, metavar="OLDEST-NEWEST", help="that the packages are made for")
    parser.add_argument("--shared-library", action="store_true", help="a package links Python's shared library")
    parser.add_argument("--neuron-index-url", required=True)
    parser.add_argument("--torch-index-url", default="")
    parser.add_argument("--torch-cuda-stubs", action="store_true")
    return parser


def _check(options: argparse.Namespace) -> None:
    """End with what is missing in the build's arguments or in the base image."""
    if not options.neuron_index_url:
        sys.exit("pass --build-arg NEURON_INDEX_URL=<the Neuron package index>")
    oldest, newest = (tuple(map(int, text.split("."))) for text in options.pythons.split("-"))
    if not oldest <= sys.version_info[:2] <= newest:
        sys.exit(f"the base image has Python {sys.version.split()[0]}, and needs {options.pythons}")
    if options.shared_library:
        library = sysconfig.get_config_var("INSTSONAME")
        try:
            ctypes.CDLL(library)
        except OSError:
            sys.exit(f"the base image needs {library}, Python's shared library (Debian: libpython3.11)")


if __name__ == "__main__":
    main()
