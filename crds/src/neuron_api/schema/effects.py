"""Keys that are set but have no effect where the job runs: reported at the start of a training and by `plan`.

The facts stand on the fields (`config.markers`). A device is PyTorch's name of it: `xla`, on Trn1, is Neuron's with
the backend `xla`; the others have `native`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from neuron_api.config import TrainingConfig
from neuron_api.config.markers import BACKENDS, NoEffect
from neuron_api.derive.hardware import XLA_DEVICE
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.environment import VARIABLES
from neuron_api.resource.accelerator import Accelerator

from . import support
from .aliases import CANONICAL
from .key_path import all_paths, field_of
from .support import SupportLevel

_LEVELS: Final[Mapping[SupportLevel, str]] = {
    SupportLevel.IGNORED: "no: not in this release",
    SupportLevel.REFUSED: "no: any other value is refused",
    SupportLevel.MEGATRON_ONLY: "only with model_source megatron",
}


def check(config: TrainingConfig, device: str, reported: Iterable[Finding] = ()) -> tuple[Finding, ...]:
    """Return one note that lists every such key, without those that `reported` is about."""
    reported_keys = {CANONICAL.get(finding.key, finding.key) for finding in reported}
    idle = [key for key in keys_without_effect(config, device) if key not in reported_keys]
    if not idle:
        return ()
    return (make_finding(4004, "", f"These keys have no effect on {device}: {', '.join(idle)}."),)


def keys_without_effect(config: TrainingConfig, device: str) -> Iterator[str]:
    """Yield the paths of keys whose value is not the default and has no effect on the device."""
    for path, _ in all_paths():
        no_effect = no_effect_on(path, device)
        if no_effect is None or path in CANONICAL:
            continue
        is_active = bool(no_effect.unless) and _is_set(config, no_effect.unless)
        if _is_set(config, path) and not is_active:
            yield path


def no_effect_of(path: str) -> NoEffect | None:
    """Return what the field says of all backends; None if the key takes effect on every device with some backend."""
    return next((item for item in _markers(path) if item.backends == BACKENDS), None)


def no_effect_on(path: str, device: str) -> NoEffect | None:
    """Return what the field says of a device with its backend; None if the key takes effect there."""
    accelerator, backend = _accelerator(device), "xla" if device == XLA_DEVICE else "native"
    markers = _markers(path)
    return next((fact for fact in markers if accelerator in fact.devices and backend in fact.backends), None)


def _markers(path: str) -> tuple[NoEffect, ...]:
    info = field_of(CANONICAL.get(path, path))
    return tuple(item for item in info.metadata if isinstance(item, NoEffect)) if info else ()


def describe(path: str, device: str) -> str:
    """Return whether the key takes effect on the device: `yes`, `no: why`, with the variables that it sets."""
    path = CANONICAL.get(path, path)
    if (no_effect := no_effect_on(path, device)) is not None:
        return f"only beside {no_effect.unless}" if no_effect.unless else f"no: {no_effect.why}"
    if support.is_read_with_records(path):
        return "only with model_source megatron or fine-tuning"
    if (level := support.level_of(path)) in _LEVELS:
        return _LEVELS[level]
    names = ", ".join(VARIABLES.get(path, ())) if _accelerator(device) is Accelerator.NEURON else ""
    return f"yes, sets {names}" if names else "yes"


def _accelerator(device: str) -> Accelerator:
    """Return the accelerator; PyTorch may know Neuron's device by a name of another backend."""
    return next((accelerator for accelerator in Accelerator if accelerator.device == device), Accelerator.NEURON)


def _is_set(config: TrainingConfig, path: str) -> bool:
    """Return whether the value differs from the default; False below a section that is absent."""
    node: Any = config
    for part in path.split(".")[:-1]:
        node = getattr(node, part)
        if node is None:
            return False
    info = field_of(path)
    assert info is not None
    return bool(_value(node, path.rpartition(".")[2]) != info.get_default(call_default_factory=True))


def _value(section: Any, key: str) -> Any:
    by_key = {info.alias or name: name for name, info in type(section).model_fields.items()}
    return getattr(section, by_key[key])
