"""Hugging Face's `config.json`: reading it, and the keys that Llama, Mistral and Mixtral have in common."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from pydantic import ValidationError

from neuron_api.config import ModelConfig
from neuron_api.derive.config_json import ConfigJson, sizes
from neuron_api.findings.finding import Finding, Severity, error
from neuron_api.loading.limits import MAX_BYTES
from neuron_api.published_models import catalog
from neuron_trainer.errors import InputError

if TYPE_CHECKING:
    from .blocks.rotary import RopeScaling

SUPPORTED_ROPE: Final = ("default", "linear", "dynamic", "llama3")
_SHOWN: Final = 60
"""Characters of a wrong value in a message."""
_UNION: Final = ("int", "float", "none", "nullable")


def read(model: ModelConfig) -> dict[str, Any]:
    """The file `model.model_config`, or the one in that directory, or the published model of that name, parsed and
    checked; raises `InputError`."""
    path = Path(str(model.model_config_path)).expanduser()
    published = catalog.find(str(model.model_config_path))
    if published is not None and not path.exists():
        return checked(dict(published.config), published.names[0])
    remedy = _remedy(str(model.model_config_path))
    try:
        path = path / "config.json" if path.is_dir() else path
        if path.exists() and not path.is_file():
            raise wrong(f"{path} is not a regular file.", remedy)
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as problem:
        raise wrong(f"{path} cannot be read: {problem.strerror}.", remedy) from None
    if len(content) > MAX_BYTES:
        raise wrong(f"{path} has more than {MAX_BYTES} bytes.", remedy)
    return checked(_parsed(content, path), str(path))


def _remedy(text: str) -> str:
    """Return what to write instead of a path that cannot be read."""
    near = catalog.suggestion(text) if catalog.is_name(text) else None
    return f"Did you mean {near}?" if near else "Give the path of a Hugging Face config.json."


def checked(values: Any, source: str = "config.json") -> dict[str, Any]:
    """The values, if each that is read has its type and range; raises `InputError` with all that have not."""
    if not isinstance(values, dict):
        raise wrong(
            f"{source} is a {type(values).__name__}, not an object with keys.",
            "Give the config.json of a Llama, Mistral or Mixtral model.",
        )
    try:
        ConfigJson.model_validate(values)
    except ValidationError as problem:
        details = problem.errors(include_url=False)
        findings = [error("model.model_config", f"{source}: {_sentence(detail)}") for detail in details]
        raise InputError(findings) from None
    return values


def _parsed(content: bytes, path: Path) -> Any:
    try:
        return json.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as problem:
        line = 1 + content.count(b"\n", 0, problem.start)
        raise wrong(f"line {line} of {path} is not UTF-8 text.", "Save it as UTF-8.") from None
    except (ValueError, RecursionError) as problem:
        reason = "it is nested too deeply" if isinstance(problem, RecursionError) else problem
        raise wrong(f"{path} is not JSON: {reason}.") from None


def _sentence(detail: Any) -> str:
    """Return the sentence of an error of pydantic's."""
    key = ".".join(str(part) for part in detail["loc"] if part not in _UNION)
    text = str(detail["msg"]).removeprefix("Value error, ").removeprefix("Input should be ")
    if detail["type"] == "missing":
        return f"{key} is missing."
    return f"{key} is {_shown(detail['input'])}; expected: {text}." if key else f"{text}."


def _shown(value: Any) -> str:
    text = json.dumps(value, default=str)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def common(values: Mapping[str, Any], overrides: ModelConfig | None) -> dict[str, Any]:
    """Fields of `LlamaConfig` with the overrides; one of the hidden size keeps the number of heads. `InputError`."""
    if values.get("hidden_act", "silu") != "silu":
        raise wrong(f"hidden_act {values['hidden_act']!r} is not supported.", "Use silu.")
    try:
        return _fields(values, overrides)
    except KeyError as missing:
        raise wrong(f"config.json has no {missing}.") from None


def wrong(message: str, remedy: str = "", key: str = "model.model_config") -> InputError:
    """One finding about the architecture."""
    return InputError([Finding(Severity.ERROR, key, message, remedy)])


def _fields(values: Mapping[str, Any], overrides: ModelConfig | None) -> dict[str, Any]:
    rope = {**(values.get("rope_scaling") or {}), **(values.get("rope_parameters") or {})}
    own = sizes(values, overrides)
    hidden, heads, head_size = own.hidden_size, own.num_attention_heads, own.head_dim
    has_own_heads = values.get("head_dim") and hidden == values["hidden_size"]
    if not has_own_heads and hidden % heads:
        raise wrong(f"hidden_size {hidden} is not a multiple of num_attention_heads {heads}.", key="model.hidden_size")
    if head_size % 2:
        raise wrong(f"heads of {head_size} features cannot be rotated in pairs.", "Use an even hidden_size per head.")
    length = values.get("max_position_embeddings", 2048)
    return {
        **asdict(own),
        "rms_norm_eps": values.get("rms_norm_eps", 1e-6),
        "rope_theta": (overrides and overrides.rope_theta)
        or values.get("rope_theta")
        or rope.get("rope_theta")
        or 10000.0,
        "rope_scaling": _rope_scaling(rope, length),
        "max_position_embeddings": (overrides and overrides.max_position_embeddings) or length,
        "initializer_range": values.get("initializer_range", 0.02),
        "attention_dropout": values.get("attention_dropout", 0.0),
    }


def _rope_scaling(rope: Mapping[str, Any], length: int) -> "RopeScaling | None":
    """`length`: config.json's own limit; `dynamic` stretches what is longer, so an override must not move it."""
    from .blocks.rotary import RopeScaling  # torch, which reading the file needs not

    kind = rope.get("rope_type") or rope.get("type") or "default"
    match kind:
        case "default":
            return None
        case "linear":
            return RopeScaling(kind, _factor(rope, "factor"))
        case "dynamic":
            return RopeScaling(kind, _factor(rope, "factor"), length)
        case "llama3":
            names = ("factor", "low_freq_factor", "high_freq_factor", "original_max_position_embeddings")
            return RopeScaling(kind, **{name: _factor(rope, name) for name in names})
    raise wrong(f"rope_scaling of type {kind!r} is not supported by this release.", f"Use {', '.join(SUPPORTED_ROPE)}.")


def _factor(rope: Mapping[str, Any], name: str) -> Any:
    if rope.get(name) is None:
        raise wrong(f"rope_scaling has no {name}, which its type needs.")
    return rope[name]
