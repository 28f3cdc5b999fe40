"""The command line: `neuron-train run CONFIG [key=value …]`, `test CONFIG …`, `compile CONFIG …`, `data prepare …`,
`checkpoint list …`, `generate RUN …`, `plot RUN …`, `dashboard RUN …`, `doctor`."""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from neuron_api import version

from .doctor import arguments


def parser() -> argparse.ArgumentParser:
    """All arguments; each help text says what the default means."""
    root = argparse.ArgumentParser(prog="neuron-train", description="Train from a NeuronX Distributed Training file.")
    root.add_argument("--version", action="version", version=f"%(prog)s {version()}")
    commands = root.add_subparsers(dest="command", required=True)

    _add_run(commands)
    data = commands.add_parser("data", help="make a data set").add_subparsers(dest="data_command", required=True)
    prepare = data.add_parser(
        "prepare", help="tokenise text, JSON lines or parquet, and write rows of equal length or Megatron's documents"
    )
    _prepare_arguments(prepare)
    _add_checkpoint(commands)
    _add_generate(commands)
    plot = commands.add_parser("plot", help="draw loss, rate, norm and throughput of runs, with their restarts")
    plot.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="log directory, or its metrics.jsonl")
    plot.add_argument(
        "-o",
        "--output",
        type=Path,
        default=Path("plot.png"),
        metavar="FILE",
        help="picture; .png, .svg or .pdf; default plot.png",
    )
    plot.add_argument(
        "--timeline",
        action="store_true",
        help="draw where the time went in place of the curves: starts, steps, saves, restarts; and print the seconds",
    )
    board = commands.add_parser("dashboard", help="a page in the browser with the curves of runs of this machine, live")
    board.add_argument("runs", nargs="+", type=Path, metavar="RUN", help="log directory of a run")
    board.add_argument("--port", type=int, default=0, help="on 127.0.0.1; default: a free one")
    board.add_argument(
        "--browser", action=argparse.BooleanOptionalAction, help="open the page in the browser; default: on a terminal"
    )
    arguments.add_doctor(commands)
    return root


def _add_run(commands: Any) -> None:
    described = {
        "run": "train; with no Kubernetes on this machine, in a pod as its part of the job",
        "compile": "compile what a run needs into compiler_cache_url, without data and without training",
        "test": "the loss of exp_manager.resume_from_checkpoint, or of the run's newest checkpoint, on the test set: "
        "trainer.limit_test_batches of data.test_dir, or of the test part of data.data_prefix",
    }
    for name, text in described.items():
        run = commands.add_parser(name, help=text)
        run.add_argument("config", help="the YAML file; of a NeuronTrainingJob its spec.config is taken")
        run.add_argument(
            "overrides", nargs="*", default=[], metavar="key=value", help="e.g. trainer.devices=1 trainer.max_steps=20"
        )
        run.add_argument("--job", metavar="NAME", help="which NeuronTrainingJob of a file with several")
        if name == "run":
            _add_memory(run)
        devices = "cpu, neuron, or cuda for tests and small GPUs; default: what the operator says, else cpu"
        run.add_argument("--accelerator", metavar="NAME", help=devices)
        run.add_argument(
            "--data-module",
            metavar="PACKAGE.MODULE:CLASS",
            help="the same as data.data_module=…: samples come from this class; default: the environment "
            "variable NEURON_TRAIN_DATA_MODULE, or what the file says",
        )


def _add_memory(run: argparse.ArgumentParser) -> None:
    run.add_argument(
        "--memory-every-steps",
        metavar="N",
        help="copy the state of each process to shared memory after every N steps, for a restart on this machine; "
        "default: what the operator says, else never",
    )


def _prepare_arguments(prepare: argparse.ArgumentParser) -> None:
    add = prepare.add_argument
    # fmt: off
    add("--input", nargs="+", required=True, type=Path, metavar="FILE",
        help="text, JSON lines or a JSON list, CSV, parquet or Arrow, also as .gz, .bz2, .xz, .zst or .lz4; found out "
        "by content and suffix")
    add("--output", required=True, type=Path, metavar="PATH",
        help="directory for rows, prefix of .bin and .idx for megatron; complete or absent")
    add("--format", choices=["rows", "megatron"], default="rows", help="default rows, for data.train_dir")
    add("--seq-length", type=int, metavar="N", help="model.encoder_seq_length; rows only")
    add("--input-format", choices=["text", "json", "csv", "parquet", "arrow"],
        help="read every input as this; default: found out")
    add("--encoding", metavar="NAME", help="of text, JSON and CSV, as latin-1; default UTF-8, or by a byte order mark")
    add("--encoding-errors", choices=["strict", "replace"], default="strict",
        help="strict (default): stop at the first byte that is not of the encoding; replace: put U+FFFD and count")
    add("--text-key", default="text", metavar="KEY", help="field of a record that is its text; default text")
    add("--vocab-size", type=int, metavar="V", help="size of the BPE vocabulary to learn from the text")
    add("--tokenizer", type=Path, metavar="PATH",
        help="use this tokenizer.json, or this Hugging Face directory, instead of learning one")
    add("--end-of-text", metavar="TOKEN", help="token after each document; default: the tokenizer's")
    add("--processes", type=int, default=1, metavar="P", help="processes that tokenise; default 1")
    # fmt: on


def _add_checkpoint(commands: Any) -> None:
    described = {
        "list": "checkpoints of a log directory, newest first, and what killed saves left",
        "verify": "read every byte and compare it with the manifest; status 1 when one is damaged",
        "inspect": "manifest and tensors of a checkpoint, without reading the tensors",
    }
    checkpoint = commands.add_parser("checkpoint", help="look at checkpoints, or convert one")
    subcommands = checkpoint.add_subparsers(dest="checkpoint_command", required=True)
    for name, text in described.items():
        command = subcommands.add_parser(name, help=text)
        paths = "log directory, its checkpoints, or one"
        command.add_argument("paths", nargs="+", type=Path, metavar="DIR", help=paths)
        command.add_argument("-o", "--output", choices=("table", "json"), default="table", help="default table")
    _add_convert(subcommands)


_CONVERT: Final = """\
Copy the weights of a checkpoint into another format. Optimizer state and counters are not copied: a run starts with
such weights at step 0 (model.weight_init_only).

  neuron-train checkpoint convert nemo_experiments/my-run exported --to hf
  neuron-train checkpoint convert Llama-3.1-8B weights.ckpt --to native
  neuron-train checkpoint convert my-run/checkpoints/step=100.ckpt shards --to nxd --config config.yaml
"""


def _add_convert(subcommands: Any) -> None:
    convert = subcommands.add_parser(
        "convert",
        help="weights from and to Hugging Face's safetensors and neuronx-distributed's files",
        description=_CONVERT,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = convert.add_argument
    # fmt: off
    add("source", metavar="SOURCE",
        help="checkpoint of this trainer, transformers or neuronx-distributed; or a log directory: its newest one")
    add("target", metavar="TARGET", help="directory to write; with --to native its name ends in .ckpt")
    add("--to", required=True, choices=("native", "hf", "nxd", "peft"),
        help="hf: safetensors and config.json for transformers, vLLM and others; native: for "
        "exp_manager.resume_from_checkpoint; nxd: files of neuronx-distributed; peft: adapters for "
        "PeftModel.from_pretrained")
    add("--base", type=Path, metavar="DIR",
        help="adapters: the model that they belong to; default: what the checkpoint names")
    add("--config", type=Path, metavar="FILE",
        help="the run's NxDT file, which says how the model is split; required from and to nxd")
    add("--dtype", choices=("float32", "bfloat16", "float16"), help="type of the written tensors; default: as stored")
    add("--masters", action="store_true",
        help="native source: take the optimizer's master weights, which have full precision")
    add("--max-shard-size", type=float, default=5.0, metavar="GB", help="hf: largest safetensors file; default 5")
    add("--tokenizer", type=Path, metavar="DIR",
        help="hf, peft: copy the tokenizer from this directory; default: the run's, else the source's")
    add("--xser", action="store_true", help="nxd: write a file for each tensor (exp_manager.save_xser)")
    add("--kv-layout", choices=("tiled", "grouped"), default="tiled",
        help="nxd: order of replicated key/value heads: tiled as on trn1 (default), or grouped as on trn2")
    # fmt: on


def _add_generate(commands: Any) -> None:
    generate = commands.add_parser("generate", help="what a model says now: continue prompts with transformers")
    add = generate.add_argument
    # fmt: off
    add("source", metavar="RUN",
        help="log directory (its newest checkpoint), checkpoint, or directory of transformers")
    add("--prompt", action="append", default=[], metavar="TEXT", help="what is continued; may be given several times")
    add("--prompts", metavar="FILE",
        help="one prompt a line, or .jsonl with prompt or input; -: standard input, as without any prompt")
    add("--max-new-tokens", type=int, default=64, metavar="N", help="default 64")
    add("--temperature", type=float, metavar="T", help="draw tokens; default: the most likely one each time")
    add("--top-p", type=float, default=1.0, metavar="P",
        help="draw from the most likely tokens that have this probability together; default 1, all")
    add("--seed", type=int, default=1234, metavar="N", help="of drawn tokens; default 1234")
    add("--chat", action="store_true", help="put the prompt into the tokenizer's chat template")
    add("--base", action="store_true", help="ask the model that the run began with; with --adapter both, side by side")
    add("--adapter", action="store_true", help="ask the tuned model; the default")
    add("--base-model", type=Path, metavar="DIR", help="the model that adapters belong to; default: as they say")
    add("--tokenizer", type=Path, metavar="DIR",
        help="its directory; default: the one that the run was configured with, or the source's")
    add("-o", "--output", choices=("text", "json"), default="text", help="default text; json: one object a line")
    # fmt: on


def _generate(chosen: Any) -> int:
    from .cli import convert, generate, language_model

    return generate.run(
        generate.GenerateRequest(
            source=convert.place(chosen.source),
            prompts=chosen.prompt,
            file=chosen.prompts,
            sampling=language_model.Sampling(chosen.max_new_tokens, chosen.temperature, chosen.top_p, chosen.seed),
            tokenizer=chosen.tokenizer,
            base=chosen.base_model,
            shows_base=chosen.base,
            shows_tuned=chosen.adapter,
            is_chat=chosen.chat,
            output=chosen.output,
        )
    )


def _convert(chosen: Any) -> int:
    from .cli import convert

    return convert.run(
        convert.ConvertRequest(
            source=convert.place(chosen.source),
            target=convert.place(chosen.target),
            to=chosen.to,
            config=chosen.config,
            dtype=chosen.dtype,
            shard_bytes=int(chosen.max_shard_size * 1e9),
            xser=chosen.xser,
            grouped=chosen.kv_layout == "grouped",
            masters=chosen.masters,
            tokenizer=chosen.tokenizer,
            base=convert.place(chosen.base) if chosen.base is not None else None,
        )
    )


def _parse(words: Sequence[str] | None) -> argparse.Namespace:
    """Return the arguments; overrides may stand after options too, where argparse alone expects no more of them."""
    program = parser()
    chosen, others = program.parse_known_args(words)
    takes_overrides = hasattr(chosen, "overrides")
    if wrong := [word for word in others if not takes_overrides or word.startswith("-")]:
        program.error(f"unrecognized arguments: {' '.join(wrong)}")
    if others:
        chosen.overrides = [*chosen.overrides, *others]
    return chosen


def _train(chosen: Any) -> int:
    from .launcher import job_file, start

    own = [job_file.data_module_override(chosen.data_module)] if chosen.data_module else []
    return start.main(
        chosen.config,
        [*own, *chosen.overrides],
        is_test=chosen.command == "test",
        is_compile=chosen.command == "compile",
        job=chosen.job,
        accelerator=chosen.accelerator,
        memory_every_steps=getattr(chosen, "memory_every_steps", None),
    )


def _checkpoint(chosen: Any) -> int:
    if chosen.checkpoint_command == "convert":
        return _convert(chosen)
    from .cli import checkpoint

    return checkpoint.run(chosen.checkpoint_command, chosen.paths, chosen.output)


def _doctor(chosen: Any) -> int:
    from .cli import doctor

    return doctor.run(
        doctor.DoctorRequest(
            accelerator=chosen.accelerator,
            processes=chosen.processes,
            seconds=chosen.timeout,
            has_trials=not chosen.no_trials,
            cache=chosen.cache,
            report=chosen.report,
        )
    )


def _plot(chosen: Any) -> int:
    from .cli import plot  # matplotlib: 0.4 s

    return plot.run(chosen.runs, chosen.output, is_timeline=chosen.timeline)


def _dashboard(chosen: Any) -> int:
    from .cli import dashboard

    return dashboard.run(chosen.runs, port=chosen.port, browser=chosen.browser)


def _prepare(chosen: Any) -> int:
    from .data import prepare

    return prepare.main(
        prepare.PrepareRequest(
            inputs=tuple(chosen.input),
            output=chosen.output,
            seq_length=chosen.seq_length,
            vocab_size=chosen.vocab_size,
            tokenizer=chosen.tokenizer,
            processes=chosen.processes,
            format=chosen.format,
            text_key=chosen.text_key,
            end_of_text=chosen.end_of_text,
            input_format=chosen.input_format,
            encoding=chosen.encoding,
            encoding_errors=chosen.encoding_errors,
        )
    )


# Each imports what it needs and no more: `neuron-train --help` must not wait for torch.
_COMMANDS: Final[dict[str, Callable[[Any], int]]] = {
    "run": _train,
    "test": _train,
    "compile": _train,
    "data": _prepare,
    "checkpoint": _checkpoint,
    "generate": _generate,
    "plot": _plot,
    "dashboard": _dashboard,
    "doctor": _doctor,
}


def main(words: Sequence[str] | None = None) -> int:
    """Entry point of the `neuron-train` script; returns an exit code of `neuron_api.contract.ExitCode`."""
    chosen = _parse(words)
    return _COMMANDS[chosen.command](chosen)


if __name__ == "__main__":
    sys.exit(main())
