"""The command from its arguments to an exit code.

Work is done in a hidden directory beside the output, in parts that are whole or absent. A second start of an
interrupted command continues with the parts that are missing; with other arguments or input it begins again. The output
appears by a rename (rows) or with its index (Megatron), never half.
"""

import json
import logging
import shutil
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import numpy as np

from neuron_api.contract import ExitCode
from neuron_trainer import logs
from neuron_trainer.data.megatron.layout import dtype_for, idx_path
from neuron_trainer.errors import InputError

from . import inputs, outputs, parts, vocabulary
from .request import PrepareRequest, check
from .vocabulary import TokenizerFile

log = logging.getLogger(__name__)

_REQUEST_FILE: Final = "request.json"


def main(request: PrepareRequest) -> int:
    """Run the command; returns an exit code."""
    logs.console()
    try:
        if findings := check(request) or inputs.check(request):
            raise InputError(findings)
        _prepare(request)
    except InputError as problem:
        log.error("%s", problem)
        return int(ExitCode.CONFIG)
    except OSError as problem:
        place = problem.filename or request.output
        log.error("--output: %s: %s.", place, problem.strerror or problem)
        return int(ExitCode.CONFIG)
    return int(ExitCode.SUCCESS)


def _prepare(request: PrepareRequest) -> None:
    fingerprint, earlier = request.fingerprint(), _read(request.prepared)
    if earlier == fingerprint and _exists(request):
        log.info("nothing to do: %s was made with the same arguments from the same text", request.output)
        return
    if isinstance(earlier, dict):
        log.warning("%s", _replacement(request, earlier, fingerprint))
    folder = request.unfinished
    if _read(folder / _REQUEST_FILE) != fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        outputs.write_request(folder / _REQUEST_FILE, fingerprint)
    sources = inputs.open_all(request, folder)
    tokenizer = vocabulary.make(request, sources, folder)
    dtype = dtype_for(tokenizer.size) if request.format == "megatron" else np.dtype(np.int32)
    todo = parts.plan((p for source in sources for p in inputs.pieces(source)), folder, tokenizer, dtype)
    parts.tokenise(todo, request.processes)
    if request.format == "megatron":
        _finish_documents(request, fingerprint, todo, tokenizer, dtype)
    else:
        _finish_rows(request, fingerprint, todo, tokenizer)
    shutil.rmtree(folder, ignore_errors=True)


def _finish_rows(
    request: PrepareRequest, fingerprint: dict[str, Any], todo: list[parts.TokenFile], tokenizer: TokenizerFile
) -> None:
    assert request.seq_length is not None, "`check` requires it"
    rows = request.unfinished / "rows"
    shutil.rmtree(rows, ignore_errors=True)
    name = sha256(json.dumps(fingerprint).encode()).hexdigest()[:16]
    count = outputs.write_rows(todo, request.unfinished, request.seq_length, name)
    vocabulary.write_directory(tokenizer, request.tokenizer, rows)
    outputs.write_request(rows / request.prepared.name, fingerprint)
    if request.output.exists():
        shutil.rmtree(request.output)
    rows.rename(request.output)
    text = "%s: %d rows of %d tokens, vocabulary %d; data.tokenizer.type can name it, too"
    log.info(text, request.output, count, request.seq_length, tokenizer.size)


def _finish_documents(
    request: PrepareRequest,
    fingerprint: dict[str, Any],
    todo: list[parts.TokenFile],
    tokenizer: TokenizerFile,
    dtype: np.dtype[Any],
) -> None:
    request.prepared.unlink(missing_ok=True)
    count = outputs.write_documents(todo, request.output, dtype)
    folder = request.output.with_name(f"{request.output.name}.tokenizer")
    vocabulary.write_directory(tokenizer, request.tokenizer, folder)
    outputs.write_request(request.prepared, fingerprint)
    text = "%s: %d documents, %s, vocabulary %d; tokenizer %s"
    log.info(text, request.output, count, dtype.name, tokenizer.size, folder)


def _replacement(request: PrepareRequest, earlier: dict[str, Any], fingerprint: dict[str, Any]) -> str:
    """Return what people should know before a data set of this command is replaced: how it was made."""
    changed = [name for name, value in fingerprint.items() if earlier.get(name) != value]
    digests = [name for name in changed if name in ("inputs", "tokenizer")]
    values = [f"--{name.replace('_', '-')} {earlier.get(name)}" for name in changed if name not in digests]
    texts = [f"another {'text' if name == 'inputs' else 'tokenizer'}" for name in digests]
    how = f" It was made with {', '.join([*values, *texts])}." if changed else ""
    return f"{request.output} exists and will be replaced.{how} Stop now and use another --output to keep it."


def _exists(request: PrepareRequest) -> bool:
    return request.format == "rows" or idx_path(request.output).exists()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
