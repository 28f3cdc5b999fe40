"""What the command is asked for, and what is wrong with it."""

from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final, Literal

from neuron_api.findings.finding import Finding, error
from neuron_trainer.data.formats.text import Errors, is_encoding
from neuron_trainer.data.megatron.layout import bin_path

MIN_VOCABULARY: Final = 257
MAX_VOCABULARY: Final = 10_000_000
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class PrepareRequest:
    """The command's arguments."""

    inputs: tuple[Path, ...]
    output: Path
    """A directory for rows, a path prefix for Megatron."""
    seq_length: int | None = None
    vocab_size: int | None = None
    tokenizer: Path | None = None
    processes: int = 1
    format: Literal["rows", "megatron"] = "rows"
    text_key: str = "text"
    """Field of a record with its text."""
    end_of_text: str | None = None
    """Token after each document; None: the tokenizer's own."""
    input_format: str | None = None
    """One of `formats.detection.Form`; None: detected."""
    encoding: str | None = None
    """Of text, JSON and CSV; None: UTF-8, or what a byte order mark says."""
    encoding_errors: Errors = "strict"

    @property
    def prepared(self) -> Path:
        """Return the file that says what the result was made from: the same request has nothing to do."""
        if self.format == "megatron":
            return self.output.with_name(f"{self.output.name}.prepared.json")
        return self.output / "prepared.json"

    @property
    def unfinished(self) -> Path:
        """Return the directory in which an interrupted request goes on."""
        return self.output.with_name(f".{self.output.name}.unfinished")

    def fingerprint(self) -> dict[str, Any]:
        """Return what is equal for requests with the same result."""
        return {
            "inputs": [_digest(path) for path in self.inputs],
            "seq_length": self.seq_length,
            "vocab_size": self.vocab_size,
            "tokenizer": _digest(self.tokenizer) if self.tokenizer else None,
            "format": self.format,
            "text_key": self.text_key,
            "end_of_text": self.end_of_text,
            "input_format": self.input_format,
            "encoding": self.encoding,
            "encoding_errors": self.encoding_errors,
        }


def check(request: PrepareRequest) -> list[Finding]:
    """Return all faults of the arguments."""
    findings = [*_vocabulary(request), *_length(request)]
    if request.encoding is not None and not is_encoding(request.encoding):
        message = f"there is no encoding {request.encoding!r}."
        findings.append(error("--encoding", message, "Use a name such as latin-1."))
    if request.processes < 1:
        findings.append(error("--processes", f"{request.processes} cannot do anything.", "Use 1 or more."))
    existing = bin_path(request.output) if request.format == "megatron" else request.output
    if existing.exists() and not request.prepared.exists():
        findings.append(error("--output", f"{existing} exists and was not made by this command.", "Use another name."))
    return findings


def _vocabulary(request: PrepareRequest) -> list[Finding]:
    findings = []
    if request.tokenizer is None and request.vocab_size is None:
        findings.append(error("--vocab-size", "it is not given, nor is --tokenizer.", "Give one of the two."))
    elif request.vocab_size is not None and request.vocab_size < MIN_VOCABULARY:
        message = f"{request.vocab_size} is less than the 256 bytes and the end of text."
        findings.append(error("--vocab-size", message, f"Give at least {MIN_VOCABULARY}."))
    elif request.vocab_size is not None and request.vocab_size > MAX_VOCABULARY:
        findings.append(error("--vocab-size", f"{request.vocab_size} is more than {MAX_VOCABULARY}."))
    if request.tokenizer is not None and not request.tokenizer.exists():
        findings.append(error("--tokenizer", f"there is no file {request.tokenizer}."))
    return findings


def _length(request: PrepareRequest) -> list[Finding]:
    length = request.seq_length
    if request.format == "megatron":
        if length is None:
            return []
        return [error("--seq-length", "Megatron data is not cut into rows.", "Leave it out: data.seq_length cuts it.")]
    if length is None:
        return [error("--seq-length", "it is not given.", "Give model.encoder_seq_length.")]
    if length < 2:
        return [error("--seq-length", f"a row of {length} tokens predicts nothing.", "Use 2 or more.")]
    return []


def _digest(path: Path) -> str:
    """Return the SHA-256 of a file, or of all files of a directory."""
    digest = sha256()
    for file_path in sorted(path.rglob("*")) if path.is_dir() else [path]:
        if file_path.is_file():
            with file_path.open("rb") as file:
                while chunk := file.read(_CHUNK):
                    digest.update(chunk)
    return digest.hexdigest()
