"""`neuron-train checkpoint convert SOURCE TARGET --to FORM`: weights in another form."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.contract import ExitCode
from neuron_api.findings.finding import error, errors_of
from neuron_api.loading.loader import load_bytes
from neuron_trainer import config_file as training_file
from neuron_trainer.checkpoint import catalog, hf_checkpoint, layout
from neuron_trainer.checkpoint.manifest import read as read_manifest
from neuron_trainer.convert import adapters, base, hugging_face, native, nxd, tokenizer
from neuron_trainer.convert.adapters import AdapterSource
from neuron_trainer.convert.partition import Partition
from neuron_trainer.convert.weights import Weights, in_dtype, stacked, unstacked
from neuron_trainer.data.paths import exists
from neuron_trainer.errors import CheckpointError, InputError
from neuron_trainer.models import config_json
from neuron_trainer.models.family import Family
from neuron_trainer.models.llama import LlamaConfig
from neuron_trainer.storage import places

FORMS: Final = ("native", "hf", "nxd", "peft")


@dataclass(frozen=True, slots=True)
class ConvertRequest:
    """The arguments."""

    source: Path
    target: Path
    to: str
    config: Path | None
    dtype: str | None
    shard_bytes: int
    xser: bool
    grouped: bool
    masters: bool
    tokenizer: Path | None = None
    """Directory to copy the tokenizer from; None: found by the source."""
    base: Path | None = None
    """Of adapters; None: what their checkpoint names."""


def run(request: ConvertRequest) -> int:
    """Returns an exit code; one sentence says what is wrong."""
    try:
        if (checkpoint := newest(request.source)) != request.source:
            print(f"{checkpoint.name} is the newest checkpoint of {request.source}")  # noqa: T201
        request = replace(request, source=checkpoint)
        convert(request)
        print(_summary(request))  # noqa: T201
    except (CheckpointError, InputError, OSError, ValueError) as problem:
        print(f"neuron-train: {problem}", file=sys.stderr)  # noqa: T201
        return int(ExitCode.ERROR if isinstance(problem, OSError) else ExitCode.CONFIG)
    return int(ExitCode.SUCCESS)


def newest(source: Path) -> Path:
    """Return the newest complete checkpoint of a run's log directory; any other source as it is. Raises
    `CheckpointError`, and `InputError` where nothing is."""
    if not places.is_remote(source) and not exists(source):
        raise InputError([error("", f"there is no directory {source}.", "Give a checkpoint or a log directory.")])
    folder = source / contract.CHECKPOINTS_DIR
    if not folder.is_dir() or hf_checkpoint.is_hf_checkpoint(source) or layout.is_complete(source):
        return source
    if not (candidates := catalog.complete(folder)):
        raise CheckpointError(f"{folder} has no complete checkpoint")
    return candidates[0].path


def _summary(request: ConvertRequest) -> str:
    """Return what was written, with its size; the tokenizer is copied here beside weights that others load."""
    size = sum(path.stat().st_size for path in request.target.rglob("*") if path.is_file())
    text = f"{request.target}: {size / 1e6:.1f} MB" if size >= 10**6 else f"{request.target}: {size / 1e3:.1f} kB"
    if request.to not in ("hf", "peft"):
        return text
    folder = tokenizer.find(request.source, request.tokenizer)
    if folder is None:
        return f"{text}, no tokenizer: none was found beside the source; give --tokenizer DIR"
    return f"{text}, {len(tokenizer.copy(folder, request.target))} files of the tokenizer in {folder}"


def convert(request: ConvertRequest) -> None:
    """Write the target, without a tokenizer. Raises `CheckpointError`, `InputError`, `OSError` or `ValueError`."""
    if request.tokenizer is not None:
        tokenizer.find(request.source, request.tokenizer)
    adapted = adapters.read(request.source)
    if request.to == "peft" or (adapted is not None and request.to == "native"):
        _convert_adapters(request, adapted)
        return
    weights, values = _read(request) if adapted is None else _merged(request, adapted)
    family = Family.without_run(values)
    dtype = getattr(torch, request.dtype) if request.dtype else None
    weights = in_dtype(weights, dtype)
    if not request.target.name.endswith(".ckpt") and request.to == "native":
        raise CheckpointError(f"{request.target}: give a name that ends in .ckpt, so that the trainer finds it")
    if request.to == "nxd":
        partition = _partition(request, family)
        with _progress(len(partition.places())) as tell:
            nxd.write(request.target, weights, partition, xser=request.xser, tell=tell)
        return
    shapes = native.shapes(family)
    if request.to == "native":
        first = next(iter(weights.values()))()
        with _progress(len(shapes)) as tell:
            native.write(request.target, stacked(weights, family.hf_tensors), shapes, family, first.dtype, tell)
        return
    distinct = {name: load for name, load in weights.items() if not (_is_tied(family) and name == "lm_head.weight")}
    with _progress(len(distinct)) as tell:
        hugging_face.write(request.target, distinct, values, request.shard_bytes, tell)


def _convert_adapters(request: ConvertRequest, adapted: AdapterSource | None) -> None:
    """The adapters alone, for PEFT or as a checkpoint to begin with."""
    if adapted is None:
        raise CheckpointError(f"{request.source} has no adapters, so PEFT has no form of it: convert it to hf")
    with _progress(len(adapted.weights)) as tell:
        if request.to == "peft":
            named = str(request.base) if request.base is not None else adapted.entry.base.source
            adapters.write(request.target, adapted, named or None, tell)
            return
        adapted = adapters.folded(adapted)
        _, values = base.find(adapted, request.base)
        native.write_adapters(request.target, adapted.weights, adapted.entry, Family.without_run(values), tell)


def _merged(request: ConvertRequest, adapted: AdapterSource) -> tuple[Weights, dict[str, Any]]:
    """Base and adapters added up, in the dtype that they were trained in."""
    weights, values = base.find(adapted, request.base)
    trained = read_manifest(request.source).dtype if layout.is_complete(request.source) else None
    if _is_tied(Family.without_run(values)) and adapters.unties(adapted):
        values = {**values, "tie_word_embeddings": False}
        weights = {"lm_head.weight": weights["model.embed_tokens.weight"], **weights}
    name = request.dtype or trained
    dtype = getattr(torch, name) if name is not None else None
    weights = in_dtype(adapters.merged(adapted, weights, dtype), dtype)
    return weights, {**values, "torch_dtype": name or values.get("torch_dtype")}


def _read(request: ConvertRequest) -> tuple[Weights, dict[str, Any]]:
    """Full tensors by Hugging Face's names, and config.json."""
    source = request.source
    if hf_checkpoint.is_hf_checkpoint(source):
        return hugging_face.read(source), hf_checkpoint.config(source)
    if (source / layout.TENSOR_INDEX).is_file():
        manifest = catalog.verify(source)
        values = base.architecture(manifest, request.dtype)
        return unstacked(native.read(source, masters=request.masters), Family.without_run(values).hf_tensors), values
    if (source / "model").is_dir():
        values = _model_values(request)
        return nxd.read(source, _partition(request, Family.without_run(values))), values
    if (pickle := hf_checkpoint.pickled(source)) is not None:
        raise CheckpointError(hf_checkpoint.REFUSAL.format(pickle))
    raise CheckpointError(f"{source} is no checkpoint of this trainer, of transformers or of neuronx-distributed")


def _training_config(request: ConvertRequest) -> TrainingConfig:
    if request.config is None:
        raise CheckpointError("neuronx-distributed's form depends on the split: give the NxDT file with --config")
    loaded = load_bytes(training_file.read(request.config), [], source=str(request.config))
    if loaded.config is None or errors_of(loaded.findings):
        raise InputError(errors_of(loaded.findings))
    return loaded.config


def _model_values(request: ConvertRequest) -> dict[str, Any]:
    return config_json.read(_training_config(request).model)


def _partition(request: ConvertRequest, family: Family) -> Partition:
    if family.kind not in ("llama", "mistral") or not isinstance(family.config, LlamaConfig):
        raise CheckpointError(f"how neuronx-distributed lays out a {family.kind} is not documented: not converted")
    return Partition.from_config(_training_config(request), family.config, is_grouped=request.grouped)


def _is_tied(family: Family) -> bool:
    return bool(getattr(family.config, "tie_word_embeddings", False))


@contextmanager
def _progress(count: int) -> Iterator[Callable[[str], None]]:
    """A bar on a terminal; nothing elsewhere."""
    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=count)
        yield lambda name: bar.update(task, advance=1, description=name)


def place(text: str) -> Path:
    """A directory or an address."""
    return places.place(text)
