"""`hack/release`: the files of a release, and where they go."""

from __future__ import annotations

import argparse
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from controlplane import optionalprograms
from controlplane.errors import ClusterError
from releasebuild import chart, checksums, environment, images, materials, notes, packages, plugin, project, registry

_DESCRIPTION = """\
The files of a release, in dist/VERSION; VERSION is the one of pyproject.toml.

  hack/release build                  wheel, sdist, definition, chart, plugin, bills of materials, notes, checksums
  hack/release build --images         the images as OCI archives, too (docker or buildah: minutes)
  hack/release plugin                 kubectl-neuron for this machine's system alone
  hack/release images [NAME …]        the images for this machine's architecture alone: run both on each machine,
                                      gather the files, then `finish`
  hack/release finish                 krew's manifest, notes, checksums and signature over what is in the folder
  hack/release push                   images and chart to the registry
  hack/release version                print the version; --tag TAG: fail where the tag is another one
  hack/release workflows              check .github/workflows with actionlint

--registry HOST/PATH (or $REGISTRY): where images and chart will be; the chart's defaults name the images there.
--address URL (or $RELEASE_URL): where the files will be downloaded from, for krew's manifest.
--key FILE (or $RELEASE_KEY): private key in PEM form that signs SHA256SUMS; without one nothing is signed.
"""
_REGISTRY = re.compile(r"[a-z0-9.-]+(:[0-9]+)?(/[a-z0-9._-]+)*")
Result = TypeVar("Result")
_ADDRESS = "https://neurontraining.dev/releases"


def main(arguments: list[str] | None = None) -> int:
    """Entry point; returns the exit status."""
    options = _parser().parse_args(arguments)
    try:
        return int(options.action(options) or 0)
    except ClusterError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def _build(options: argparse.Namespace) -> None:
    if options.key:
        checksums.check_key(options.key)
    folder, version = project.output(options.output), project.version()
    project.clear(folder)
    wheel = _timed("wheel and sdist", lambda: packages.build(folder))
    _timed("definition", lambda: packages.definition(folder))
    _timed("chart", lambda: chart.build(folder, version, options.registry))
    _timed("plugin", lambda: plugin.build(folder, wheel, version))
    _timed("bills of materials", lambda: materials.build(folder, version))
    if options.images is not None:
        names = options.images or list(images.NAMES)
        _timed(f"images {', '.join(names)}", lambda: images.build(folder, version, names))
    _finish(options)


def _plugin(options: argparse.Namespace) -> None:
    folder = project.output(options.output)
    wheel = packages.build(folder)
    print(plugin.build(folder, wheel, project.version()))


def _images(options: argparse.Namespace) -> None:
    names = options.name or list(images.NAMES)
    for path in images.build(project.output(options.output), project.version(), names):
        print(path)


def _finish(options: argparse.Namespace) -> None:
    if options.key:
        checksums.check_key(options.key)
    folder, version = project.output(options.output), project.version()
    plugin.manifest(folder, version, options.address or f"{_ADDRESS}/v{version}")
    unlisted = (checksums.SUMS, checksums.SIGNATURE, checksums.KEY, notes.file_name(version))
    notes.write(folder, version, [path.name for path in folder.iterdir() if path.name not in unlisted])
    checksums.write(folder)
    if options.key:
        checksums.sign(folder, options.key)
        print(f"signed with {options.key}: {checksums.SIGNATURE}, {checksums.KEY}")
    else:
        print("not signed: give --key FILE or $RELEASE_KEY")
    for path in sorted(folder.iterdir()):
        print(f"  {path.stat().st_size:>13,}  {path.name}")
    print(f"The release is in {folder}")


def _push(options: argparse.Namespace) -> None:
    if not options.registry:
        raise ClusterError("Give the registry: --registry HOST/PATH or $REGISTRY.")
    folder, version = project.output(options.output), project.version()
    for name in registry.push(folder, version, options.registry, plain_http=options.plain_http):
        print("pushed", name, flush=True)


def _version(options: argparse.Namespace) -> None:
    version = project.version()
    if options.tag and options.tag.removeprefix("v") != version:
        raise ClusterError(f"The tag is {options.tag} and pyproject.toml has version {version}: change either.")
    print(version)


def _workflows(_options: argparse.Namespace) -> None:
    """Without shellcheck and pyflakes: the answer must not depend on what else is installed."""
    actionlint = optionalprograms.program("actionlint")
    environment.run(actionlint, "-no-color", "-shellcheck=", "-pyflakes=")


def _timed(what: str, work: Callable[[], Result]) -> Result:
    print(f"{what} … ", end="", flush=True)
    began = time.monotonic()
    result = work()
    print(f"{time.monotonic() - began:.1f} s", flush=True)
    return result


def _registry(text: str) -> str:
    if text and not _REGISTRY.fullmatch(text):
        raise argparse.ArgumentTypeError(
            f"{text!r} is no registry: give HOST[:PORT][/PATH] in small letters, without https:// and without a tag"
        )
    return text


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hack/release", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--output", type=Path, metavar="FOLDER", help="default: dist/VERSION")
    common.add_argument("--registry", type=_registry, default=os.environ.get("REGISTRY", ""), metavar="HOST/PATH")
    common.add_argument("--address", default=os.environ.get("RELEASE_URL", ""), metavar="URL")
    common.add_argument("--key", type=Path, default=os.environ.get("RELEASE_KEY") or None, metavar="FILE")
    build = commands.add_parser("build", parents=[common], help="build all files")
    build.add_argument(
        "--images", nargs="*", choices=[*images.NAMES], help="also these images; all where none is named"
    )
    build.set_defaults(action=_build)
    commands.add_parser("plugin", parents=[common], help="the plugin alone").set_defaults(action=_plugin)
    only_images = commands.add_parser("images", parents=[common], help="the images alone")
    only_images.add_argument("name", nargs="*", choices=[*images.NAMES, []], help="which; all where none is named")
    only_images.set_defaults(action=_images)
    commands.add_parser("finish", parents=[common], help="manifest, notes, checksums").set_defaults(action=_finish)
    push = commands.add_parser("push", parents=[common], help="images and chart to a registry")
    push.add_argument("--plain-http", action="store_true", help="the registry speaks no TLS")
    push.set_defaults(action=_push)
    version = commands.add_parser("version", help="print the version")
    version.add_argument("--tag", default="", help="must be the version, with or without a v")
    version.set_defaults(action=_version)
    commands.add_parser("workflows", help="check the workflows").set_defaults(action=_workflows)
    return parser
