"""The flags of the commands that begin with a file: plan, convert, submit."""

import argparse
from collections.abc import Sequence
from functools import partial
from typing import Final

from neuron_api.resource.accelerator import Accelerator
from neuron_api.resource.spec import MAX_DEVICES
from neuron_operator.cli import output

NO_FILE: Final = "-f FILE is required"


def plan_parser() -> argparse.ArgumentParser:
    """Return the command line of `plan`."""
    parser = _parser("plan", "What a job will be, worked out from its configuration without a cluster.")
    parser.add_argument("-o", "--output", choices=("table", *output.DATA), default="table", help="default: table")
    parser.add_argument(
        "--model-config",
        metavar="FILE|NAME",
        help="stands in for model.model_config where it is not here: a config.json, or a published model such as "
        "meta-llama/Llama-3.1-8B",
    )
    parser.add_argument(
        "--previous",
        metavar="FILE",
        help="the file before a change, or record.json of a compile cache: what is recompiled, and why",
    )
    parser.add_argument(
        "--explain",
        metavar="KEY",
        help="what a key means, its type and default, or what a code (NTJ-2302) means; needs no file",
    )
    return parser


def convert_parser() -> argparse.ArgumentParser:
    """Return the command line of `convert`."""
    parser = _parser("convert", "Wrap an NxDT file into a NeuronTrainingJob; its interpolations stay, comments do not.")
    parser.add_argument("--name", help="metadata.name; default: the configuration's name")
    parser.add_argument("--claim", help="PersistentVolumeClaim; default: training")
    parser.add_argument("--mount-path", help="where it is mounted; default: /training")
    _add_job_options(parser)
    parser.add_argument("-o", "--output", choices=output.DATA, default="yaml", help="default: yaml")
    parser.add_argument("--force", action="store_true", help="write a job that has errors, too")
    return parser


def submit_parser() -> argparse.ArgumentParser:
    """Return the command line of `submit`."""
    from neuron_operator.cli.live.commands import add_cluster_options

    parser = argparse.ArgumentParser(
        "kubectl neuron submit",
        description="Wrap an NxDT file into a job, check it, create it, and follow it. A NeuronTrainingJob is taken as "
        "it is.",
    )
    parser.add_argument("file", metavar="FILE", help="an NxDT file or a NeuronTrainingJob; - reads stdin")
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes of the configuration, +key=value, ~key"
    )
    parser.add_argument("--name", help="of the job; default: the configuration's name")
    parser.add_argument("--nodes", type=_count, metavar="N", help="the same as trainer.num_nodes=N")
    parser.add_argument(
        "--storage",
        metavar="CLAIM[:PATH]",
        help="PersistentVolumeClaim and mount path; default: training:/training",
    )
    _add_platform_options(parser)
    _add_job_options(parser)
    parser.add_argument(
        "--dry-run",
        nargs="?",
        choices=("client", "server"),
        const="client",
        help="client, or nothing: print the job and ask no cluster; server: let the API server check it, and create "
        "nothing",
    )
    parser.add_argument(
        "--follow",
        action=argparse.BooleanOptionalAction,
        help="status --watch until the job is over; exit code 3 if it fails. Default: on a terminal",
    )
    add_cluster_options(parser)
    output.add_option(parser, *output.DATA, output.NAME)
    return parser


def parsed(parser: argparse.ArgumentParser, arguments: Sequence[str], *, needs_file: bool) -> argparse.Namespace:
    """Return the arguments; a file that is given without -f is not taken for an override."""
    options = parser.parse_intermixed_args(arguments)
    check_overrides(parser, options.overrides)
    if needs_file and not options.files:
        parser.error(NO_FILE)
    return options


def check_overrides(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    """End with what is wrong about a word that is no override."""
    for word in words:
        if "=" not in word and not word.startswith("~"):
            parser.error(f"{word!r} is neither key=value nor ~key; give a file with -f {word}")


def rewrite(parser: argparse.ArgumentParser, text: str) -> tuple[str, str]:
    """Return both paths of `--rewrite OLD=NEW`."""
    old, _, new = text.partition("=")
    if not (old.startswith("/") and new.startswith("/")):
        parser.error(f"--rewrite {text}: two absolute paths are required, for example /home/ubuntu=/fsx")
    return old, new


def storage(parser: argparse.ArgumentParser, text: str | None) -> tuple[str | None, str | None]:
    """Return claim and mount path of `--storage`, None for what is not given."""
    if text is None:
        return None, None
    claim, _, path = text.partition(":")
    if not claim or (path and not path.startswith("/")):
        parser.error(f"--storage {text}: CLAIM or CLAIM:/PATH is required, for example fsx:/fsx")
    return claim, path or None


def _parser(command: str, description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(f"kubectl neuron {command}", description=description)
    parser.add_argument(
        "-f",
        "--file",
        dest="files",
        action="append",
        metavar="FILE",
        help="a NeuronTrainingJob, also among other documents, or an NxDT file; - reads stdin; a folder: its YAML and "
        "JSON files; may be given several times",
    )
    parser.add_argument(
        "overrides", nargs="*", default=[], metavar="key=value", help="changes of the configuration, +key=value, ~key"
    )
    _add_platform_options(parser)
    return parser


def _add_platform_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--instance-type", help="EC2 instance type, trn2.48xlarge; default: the job's, or by trainer.lnc"
    )
    parser.add_argument(
        "--accelerator",
        type=_accelerator,
        choices=tuple(map(str, Accelerator)),
        metavar="NAME",
        help="Neuron, CPU or CUDA; default: the job's, or Neuron",
    )
    for flag, name, least in (("--neuron-devices", "Neuron devices", 1), ("--efa-interfaces", "EFA interfaces", 0)):
        words = f"{name} of a node, where those of the instance type are not published; default: the job's"
        parser.add_argument(flag, type=partial(_devices, least), metavar="N", help=words)


def _add_job_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--image", help="trainer image; default: the operator's")
    parser.add_argument(
        "--rewrite",
        metavar="OLD=NEW",
        action="append",
        default=[],
        help="move paths: /home/ubuntu=/fsx makes /fsx/data of /home/ubuntu/data; may be given several times",
    )


def _accelerator(text: str) -> str:
    """Return the name as the API writes it; the command line takes `cpu`, too."""
    chosen = next((accelerator for accelerator in Accelerator if accelerator.device == text.lower()), None)
    if chosen is None and (near := Accelerator.meant_by(text)) is not None:
        raise argparse.ArgumentTypeError(f"there is no {text!r}; did you mean {near}?")
    return chosen or text


def _devices(least: int, text: str) -> int:
    """Return how many devices a node has; the bounds are those of the API."""
    if not (text.isascii() and text.isdigit() and least <= int(text) <= MAX_DEVICES):
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {MAX_DEVICES}")
    return int(text)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise ValueError
    return count
