"""The command from its arguments to an exit code.

Work is done in a hidden directory beside the output, in parts that are whole or absent. A second start of an
interrupted command goes on with the parts that are missing; arguments or input that have changed begin anew. The output
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

from . import outputs, parts, vocabulary
from .inputs import pieces
from .request import Request, check

log = logging.getLogger(__name__)

_REQUEST_FILE: Final = "request.json"


def main(request: Request) -> int:
    """Run the command; returns an exit code."""
    logs.console()
    try:
        if found := check(request):
            raise InputError(found)
        _prepare(request)
    except InputError as problem:
        log.error("%s", problem)
        return int(ExitCode.CONFIG)
    return int(ExitCode.SUCCESS)


def _prepare(request: Request) -> None:
    fingerprint = request.fingerprint()
    if _read(request.prepared) == fingerprint and _is_there(request):
        log.info("nothing to do: %s was made with the same arguments from the same text", request.output)
        return
    folder = request.unfinished
    if _read(folder / _REQUEST_FILE) != fingerprint:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        outputs.write_request(folder / _REQUEST_FILE, fingerprint)
    known = vocabulary.make(request, folder)
    dtype = dtype_for(known.size) if request.format == "megatron" else np.dtype(np.int32)
    todo = parts.plan((p for path in request.inputs for p in pieces(path, request.text_key)), folder, known, dtype)
    parts.tokenise(todo, request.processes)
    if request.format == "megatron":
        _finish_documents(request, fingerprint, todo, known, dtype)
    else:
        _finish_rows(request, fingerprint, todo, known)
    shutil.rmtree(folder, ignore_errors=True)


def _finish_rows(request: Request, fingerprint: dict[str, Any], todo: list[parts.Part], known: Any) -> None:
    assert request.seq_length is not None, "`check` wants it"
    rows = request.unfinished / "rows"
    shutil.rmtree(rows, ignore_errors=True)
    name = sha256(json.dumps(fingerprint).encode()).hexdigest()[:16]
    count = outputs.write_rows(todo, request.unfinished, request.seq_length, name)
    shutil.copy(known.file, rows / vocabulary.TOKENIZER_FILE)
    outputs.write_request(rows / request.prepared.name, fingerprint)
    if request.output.exists():
        shutil.rmtree(request.output)
    rows.rename(request.output)
    log.info("%s: %d rows of %d tokens, vocabulary %d", request.output, count, request.seq_length, known.size)


def _finish_documents(
    request: Request, fingerprint: dict[str, Any], todo: list[parts.Part], known: Any, dtype: np.dtype[Any]
) -> None:
    request.prepared.unlink(missing_ok=True)
    count = outputs.write_documents(todo, request.output, dtype)
    outputs.write_tokenizer(known, request.output.with_name(f"{request.output.name}.tokenizer"))
    outputs.write_request(request.prepared, fingerprint)
    log.info("%s: %d documents, %s, vocabulary %d", request.output, count, dtype.name, known.size)


def _is_there(request: Request) -> bool:
    return request.format == "rows" or idx_path(request.output).exists()


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError):
        return None
