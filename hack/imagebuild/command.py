"""`hack/images`: build the project's images and bring them where the cluster finds them."""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path

from controlplane.errors import ClusterError
from controlplane.locations import REPOSITORY, default_state_directory
from imagebuild import baseimage, indexaccess, loading, neuronbase
from imagebuild.builder import Builder
from imagebuild.images import IMAGES, LOCAL, Built, Image
from kindcluster.cluster import KindCluster
from offline.cluster import Cluster

_DESCRIPTION = """\
Build the project's images from their Dockerfiles with docker or buildah, whichever works here (buildah is
installed where it is missing and apt-get is there), and load them into the local cluster when it is up.

  hack/images build              operator and trainer; seconds when only code changed, nothing when nothing did
  hack/images build operator
  hack/images build torchneuron --neuron-base-image NAME --neuron-index-url URL
  hack/images build nxd --neuron-base-image NAME --neuron-index-url URL
  hack/images build nxd --neuron-base-image debian:bookworm      stand-ins of both: nothing of AWS' is reached
  hack/images names              NAME IMAGE lines: tags are content ids, so a changed image rolls a Deployment

The base image: with docker the Dockerfile's default is pulled; with buildah one is made from this
machine's Debian packages. --base-image NAME takes another one, `--base-image registry` the default.

PyTorch (trainer): TORCH_INDEX_URL or --torch-index-url takes its CPU wheels from that index. Without it,
the package index's build is installed without its CUDA libraries (hack/torch_cuda_stubs.py), which makes
the smallest image; --torch-full installs it whole.

CLUSTER=kind: built with docker and loaded into the kind cluster (KIND_CLUSTER, default kind).
CLUSTER=current: nothing is loaded; the images to push, and where to name them, are printed.
"""


_ON_NEURON = ("torchneuron", "nxd")
"""Images on a base with the Neuron runtime."""


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options) or 0)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _build(options: argparse.Namespace) -> None:
    began = time.monotonic()
    kind = KindCluster.find() if options.cluster == "kind" else None
    builder = Builder.find()
    if kind and builder.kind != "docker":
        raise ClusterError("CLUSTER=kind needs Docker's engine, which does not answer: docker info says why.")
    cluster = Cluster(default_state_directory())
    base = _base(options, builder)
    for name in options.image or LOCAL:
        built = _build_one(IMAGES[name], builder, _arguments(name, base, options))
        if options.cluster == "local" and cluster.is_running():
            start = time.monotonic()
            if loading.load(cluster, builder, built.image):
                print(f"  loaded into the local cluster: {time.monotonic() - start:.1f} s", flush=True)
        elif kind:
            kind.load(built.image)
            print(f"  loaded into kind cluster {kind.name}", flush=True)
        elif options.cluster == "current":
            print(f"  push {built.image} to a registry that your cluster pulls from, and set it in the chart's values")
    print(f"Images are ready ({time.monotonic() - began:.1f} s).")


def _build_one(image: Image, builder: Builder, arguments: dict[str, str]) -> Built:
    marks = image.fingerprint(arguments)
    last = Built.load(image)
    if last and last.fingerprint == marks and builder.has(last.image):
        print(f"{image.name}: {last.image}, nothing changed", flush=True)
        return last
    print(f"{image.name}: building with {builder.kind} … ", end="", flush=True)
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as scratch:
        identifier = builder.build(
            f"{image.repository}:dev", REPOSITORY / image.dockerfile, REPOSITORY,
            target=image.target, arguments=arguments, secrets=indexaccess.secrets(Path(scratch)),
        )  # fmt: skip
    built = Built.now(image, identifier, marks, time.monotonic() - began)
    builder.tag(f"{image.repository}:dev", built.image)
    builder.forget_others(image.repository, built.image)
    built.save(image)
    print(f"{built.image} ({built.seconds} s)", flush=True)
    return built


def _base(options: argparse.Namespace, builder: Builder) -> str:
    """The base image's name; empty for the Dockerfiles' own default."""
    choice = options.base_image or ("registry" if builder.kind == "docker" else "debian")
    if choice != "debian":
        return "" if choice == "registry" else str(choice)
    began = time.monotonic()
    name = baseimage.ensure(builder)
    print(f"base: {name} ({time.monotonic() - began:.1f} s)", flush=True)
    return name


def _arguments(name: str, base: str, options: argparse.Namespace) -> dict[str, str]:
    arguments = {"BASE_IMAGE": base} if base else {}
    if name in _ON_NEURON:
        base_image, index = _neuron_base(options)
        arguments |= {f"{name.upper()}_BASE_IMAGE": base_image, "NEURON_INDEX_URL": index}
    if name == "operator":
        return arguments
    if options.torch_index_url:
        arguments["TORCH_INDEX_URL"] = options.torch_index_url
    elif not options.torch_full:
        arguments["TORCH_CUDA_STUBS"] = "1"
    return arguments


def _neuron_base(options: argparse.Namespace) -> tuple[str, str]:
    """The image with the Neuron runtime, and the index; of `debian:SUITE` stand-ins of both, in which nothing trains on
    a device."""
    name, _, suite = str(options.neuron_base_image).partition(":")
    if name != "debian" or not suite:
        return str(options.neuron_base_image), str(options.neuron_index_url)
    return neuronbase.ensure(Builder.find(), suite), options.neuron_index_url or neuronbase.INDEX_URL


def _names(_options: argparse.Namespace) -> int:
    built = {name: Built.load(IMAGES[name]) for name in LOCAL}
    for name, last in built.items():
        print(name, last.image if last else "not built")
    return 0 if all(built.values()) else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/images", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    build = commands.add_parser("build", help="build, and load into the local cluster when it is up")
    build.add_argument("image", nargs="*", choices=[*IMAGES, []], help="which; operator and trainer when none is named")
    build.add_argument("--base-image", default=os.environ.get("BASE_IMAGE"), metavar="debian|registry|NAME")
    build.add_argument("--torch-index-url", default=os.environ.get("TORCH_INDEX_URL", ""), metavar="URL")
    build.add_argument("--neuron-base-image", default=os.environ.get("TORCHNEURON_BASE_IMAGE", ""), metavar="NAME",
                       help="image with the Neuron runtime and Python 3.12 to 3.14 (nxd: 3.11 or 3.12); debian:trixie, "
                       "debian:bookworm: a stand-in without runtime, and empty wheels, for tests")  # fmt: skip
    build.add_argument("--neuron-index-url", default=os.environ.get("NEURON_INDEX_URL", ""), metavar="URL",
                       help="torchneuron, nxd: the Neuron package index")  # fmt: skip
    build.add_argument("--torch-full", action="store_true", help="PyTorch with its CUDA libraries, 3 GB more")
    build.add_argument(
        "--cluster", choices=["local", "kind", "current", "none"], default=os.environ.get("CLUSTER") or "local"
    )
    build.set_defaults(action=_build)
    names = commands.add_parser("names", help="print NAME IMAGE of the last builds; exit status 1 if one is missing")
    names.set_defaults(action=_names)
    return parser
