"""The configuration as parameters of a tracked experiment: what was set, key by key, without secrets."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuron_api import redaction
from neuron_api.config import TrainingConfig

MAX_CHARACTERS: Final = 500
"""Of a value; older servers of MLflow take no more."""
_OF_LOGGERS: Final = "_logger_kwargs"
"""The end of the keys with arguments of the loggers themselves, which say where an experiment is tracked."""


def parameters(config: TrainingConfig) -> dict[str, str]:
    """Return what was set."""
    values = config.model_dump(by_alias=True, exclude_unset=True, mode="json")
    return dict(_flat(redaction.values(values), ""))


def _flat(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            if _is_sent(str(key)):
                yield from _flat(item, f"{path}.{key}" if path else str(key))
    elif path:
        yield path, str(value)[:MAX_CHARACTERS]


def _is_sent(key: str) -> bool:
    return not (redaction.is_secret(key) or key.endswith(_OF_LOGGERS))
