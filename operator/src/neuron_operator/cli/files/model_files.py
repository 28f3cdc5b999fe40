"""Where the architecture comes from: a file that is named, the configured path, a ConfigMap that is mounted there, the
published model of that name."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from neuron_api import contract
from neuron_api.config import TrainingConfig
from neuron_api.derive import architecture
from neuron_api.derive.architecture import Architecture
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.published_models import catalog
from neuron_operator.kube.errors import UserInputError

from .documents import Source

_KEY = "model.model_config"


def find(config: TrainingConfig, source: Source, file: str | None) -> tuple[Architecture | None, tuple[Finding, ...]]:
    """The architecture; None with a note, when the file with it is not at hand."""
    if config.model_source == "megatron":
        return _megatron(config, file)
    text = _named(file) if file else _configured(config, source)
    if text is None and not config.model.model_config_path:
        return None, ()  # NTJ-2501 has said it
    if text is None:
        return None, (_unknown(str(config.model.model_config_path)),)
    values = _json(text)
    if values is None:
        where = file or config.model.model_config_path
        return None, (make_finding(2501, _KEY, f"{where} is not a JSON object."),)
    return architecture.from_json(values, config.model)


def _unknown(path: str) -> Finding:
    """Report a file that is not here; of a name that no published model has, the nearest one."""
    if catalog.is_name(path):
        near = catalog.suggestion(path)
        hint = f"Did you mean {near}?" if near else f"Names of {len(catalog.models())} published models are known."
        return make_finding(3009, _KEY, f"{path} is neither a file on this machine nor a published model. {hint}")
    return make_finding(3009, _KEY, f"{path} is not on this machine, so that what follows from it is not known.")


def _megatron(config: TrainingConfig, file: str | None) -> tuple[Architecture | None, tuple[Finding, ...]]:
    values = _json(_named(file)) if file else {}
    vocabulary = (values or {}).get("vocab_size")
    model = architecture.from_megatron(config, vocabulary if isinstance(vocabulary, int) and vocabulary > 0 else None)
    if model is None or model.vocabulary is not None:
        return model, ()
    return model, (
        make_finding(
            3010,
            "data.tokenizer",
            "the size of the vocabulary is the tokenizer's, which is not read here: memory and checkpoint size are "
            "not known.",
        ),
    )


def _configured(config: TrainingConfig, source: Source) -> str | None:
    path = config.model.model_config_path
    if not path:
        return None
    mounted = dict(_mounted(source))
    for candidate in (path, str(PurePosixPath(path, "config.json"))):
        if candidate in mounted:
            return mounted[candidate]
    local = Path(path).expanduser()
    local = local / "config.json" if local.is_dir() else local
    try:
        return local.read_text()
    except (OSError, UnicodeDecodeError):
        return _published(path)


def _published(name: str) -> str | None:
    model = catalog.find(name)
    return json.dumps(dict(model.config)) if model else None


def _named(file: str) -> str:
    path = Path(file)
    try:
        return (path / "config.json" if path.is_dir() else path).read_text()
    except OSError as problem:
        if published := _published(file):
            return published
        near = catalog.suggestion(file) if catalog.is_name(file) else None
        raise UserInputError(f"{file}: {problem.strerror}{f'; did you mean {near}?' if near else ''}") from None
    except UnicodeDecodeError:
        raise UserInputError(f"{file} is not UTF-8 text") from None


def _json(text: str) -> dict[str, Any] | None:
    try:
        values = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def _mounted(source: Source) -> Iterator[tuple[str, str]]:
    """Paths in the trainer's container that ConfigMaps of the same file provide, with their texts."""
    template = _mapping((source.spec or {}).get("podTemplate"))
    pod = _mapping(template.get("spec"))
    volumes = {v.get("name"): _mapping(v.get("configMap")).get("name") for v in _mappings(pod.get("volumes"))}
    for container in _mappings(pod.get("containers")):
        if container.get("name") != contract.CONTAINER:
            continue
        for mount in _mappings(container.get("volumeMounts")):
            data = source.config_maps.get(str(volumes.get(mount.get("name"))), {})
            path, sub_path = str(mount.get("mountPath", "")), mount.get("subPath")
            for key, text in data.items():
                if sub_path in (None, key):
                    yield (path if sub_path else str(PurePosixPath(path, key))), text


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _mappings(items: Any) -> Iterator[Mapping[str, Any]]:
    yield from (item for item in (items if isinstance(items, list) else ()) if isinstance(item, Mapping))
