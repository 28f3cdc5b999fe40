"""The command line: `neuron-train run CONFIG [key=value …]`, `data prepare …`, `checkpoint list …`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any


def parser() -> argparse.ArgumentParser:
    """All arguments; each help text says what the default means."""
    root = argparse.ArgumentParser(prog="neuron-train", description="Train from a NeuronX Distributed Training file.")
    commands = root.add_subparsers(dest="command", required=True)

    run = commands.add_parser("run", help="train; with no Kubernetes on this machine, in a pod as its part of the job")
    run.add_argument("config", help="the YAML file")
    run.add_argument("overrides", nargs="*", metavar="key=value", help="e.g. trainer.devices=1 trainer.max_steps=20")

    data = commands.add_parser("data", help="make a data set").add_subparsers(dest="data_command", required=True)
    prepare = data.add_parser("prepare", help="tokenise text files and pack them into rows of equal length")
    prepare.add_argument("--input", nargs="+", required=True, type=Path, metavar="FILE", help="plain text, UTF-8")
    prepare.add_argument("--output", required=True, type=Path, metavar="DIR", help="complete or absent when this ends")
    prepare.add_argument("--seq-length", required=True, type=int, metavar="N", help="model.encoder_seq_length")
    prepare.add_argument(
        "--vocab-size", type=int, metavar="V", help="size of the BPE vocabulary to learn from the text"
    )
    prepare.add_argument(
        "--tokenizer", type=Path, metavar="PATH", help="use this tokenizer.json instead of learning one"
    )
    prepare.add_argument("--processes", type=int, default=1, metavar="P", help="processes that tokenise; default 1")
    _add_checkpoint(commands)
    return root


def _add_checkpoint(commands: Any) -> None:
    described = {
        "list": "checkpoints of a log directory, newest first, and what killed saves left",
        "verify": "read every byte and compare it with the manifest; status 1 when one is damaged",
        "inspect": "manifest and tensors of a checkpoint, without reading the tensors",
    }
    checkpoint = commands.add_parser("checkpoint", help="look at checkpoints")
    of_checkpoint = checkpoint.add_subparsers(dest="checkpoint_command", required=True)
    for name, text in described.items():
        one = of_checkpoint.add_parser(name, help=text)
        one.add_argument("paths", nargs="+", type=Path, metavar="DIR", help="log directory, its checkpoints, or one")
        one.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default table")


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point of the `neuron-train` script; returns an exit code of `neuron_api.contract.ExitCode`."""
    chosen = parser().parse_args(arguments)
    if chosen.command == "run":
        from .launcher import start

        return start.main(chosen.config, chosen.overrides)
    if chosen.command == "checkpoint":
        from .cli import checkpoint

        return checkpoint.run(chosen.checkpoint_command, chosen.paths, chosen.output)
    from .data import prepare

    return prepare.main(
        prepare.Request(
            inputs=tuple(chosen.input),
            output=chosen.output,
            seq_length=chosen.seq_length,
            vocab_size=chosen.vocab_size,
            tokenizer=chosen.tokenizer,
            processes=chosen.processes,
        )
    )


if __name__ == "__main__":
    sys.exit(main())
