"""The text of a configuration in the ConfigMap that `spec.configFrom` names, or one sentence why there is none."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from neuron_api.findings.finding import clip
from neuron_api.resource.spec import ConfigMapKey
from neuron_operator.planning.observation.observation import ConfigText

MAX_KEYS: Final = 10
"""Keys of a ConfigMap that a sentence lists: it may have 100,000, and a condition has room for 32,768 letters."""
_MAX_NAME: Final = 253
_FIELD: Final = "spec.configFrom.configMapKeyRef"


def read(body: Mapping[str, Any] | None, source: ConfigMapKey, namespace: str) -> ConfigText:
    """The text under the key; whether it is a configuration is asked elsewhere."""
    name, key = clip(source.name, _MAX_NAME), clip(source.key, _MAX_NAME)
    if body is None:
        return _absent("name", f"there is no ConfigMap {name} in namespace {namespace}. Create it")
    data, binary = body.get("data") or {}, body.get("binaryData") or {}
    if (text := data.get(source.key)) is not None:
        return ConfigText(text)
    if source.key in binary:
        return _absent(
            "key",
            f"key {key} of ConfigMap {name} holds binary data (binaryData), and a configuration is text. "
            "Create the ConfigMap from a file in UTF-8 without NUL characters",
        )
    return _absent("key", f"ConfigMap {name} has no key {key} (it has: {_list((*data, *binary))}). Create it")


def _absent(field: str, sentence: str) -> ConfigText:
    return ConfigText(None, f"{_FIELD}.{field}: {sentence}; the job then continues.")


def _list(keys: Iterable[str]) -> str:
    names = sorted(keys)
    more = f" and {len(names) - MAX_KEYS} more" if len(names) > MAX_KEYS else ""
    return f"{', '.join(clip(key, _MAX_NAME) for key in names[:MAX_KEYS])}{more}" if names else "none"
