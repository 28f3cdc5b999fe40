"""Keys that are set and change nothing where the job runs: reported at the start of a training and by `plan`.

The facts stand on the fields (`config.effect`). The parallel backend of this release is `native` on every device.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from neuron_api.config import TrainingConfig
from neuron_api.config.effect import NoEffect
from neuron_api.findings.finding import Finding
from neuron_api.findings.registry import make_finding
from neuron_api.platform.environment import VARIABLES
from neuron_api.resource.spec import Accelerator

from . import support
from .aliases import CANONICAL
from .key_path import all_paths, field_of
from .support import SupportLevel

_EXTENTS: Final[Mapping[SupportLevel, str]] = {
    SupportLevel.INERT: "no: not in this release",
    SupportLevel.REFUSED: "no: any other value is refused",
    SupportLevel.PART: "no: the section is refused",
    SupportLevel.MEGATRON: "only with model_source megatron",
}


def check(config: TrainingConfig, device: str, reported: Iterable[Finding] = ()) -> tuple[Finding, ...]:
    """One note that lists every such key; none for keys that `reported` is about."""
    others = {CANONICAL.get(finding.key, finding.key) for finding in reported}
    idle = [key for key in without_effect(config, _accelerator(device)) if key not in others]
    if not idle:
        return ()
    return (make_finding(4004, "", f"These keys have no effect on {device}: {', '.join(idle)}."),)


def without_effect(config: TrainingConfig, device: Accelerator) -> Iterator[str]:
    """Paths of the keys with a value other than the default that changes nothing on the device."""
    for path, _ in all_paths():
        fact = of_key(path)
        if fact is None or path in CANONICAL or device not in fact.devices:
            continue
        is_active = bool(fact.unless) and _is_set(config, fact.unless)
        if _is_set(config, path) and not is_active:
            yield path


def of_key(path: str) -> NoEffect | None:
    """What the field says; None where the key takes effect on every device."""
    info = field_of(CANONICAL.get(path, path))
    return next((item for item in info.metadata if isinstance(item, NoEffect)), None) if info else None


def words(path: str, device: Accelerator) -> str:
    """Whether a value of the key takes effect on the device: `yes`, `no: why`, with the variables that it sets."""
    path = CANONICAL.get(path, path)
    if (fact := of_key(path)) is not None and device in fact.devices:
        return f"only beside {fact.unless}" if fact.unless else f"no: {fact.why}"
    if any(f"{path}.".startswith(f"{one}.") for one in support.OF_RECORDS):
        return "only with model_source megatron or fine-tuning"
    if (extent := support.extent(path)) in _EXTENTS:
        return _EXTENTS[extent]
    names = ", ".join(VARIABLES.get(path, ())) if device is Accelerator.NEURON else ""
    return f"yes, sets {names}" if names else "yes"


def _accelerator(device: str) -> Accelerator:
    """PyTorch may know Neuron's device by a name of another backend."""
    return Accelerator.CPU if device == Accelerator.CPU.device else Accelerator.NEURON


def _is_set(config: TrainingConfig, path: str) -> bool:
    """Whether the value is another than the default; False below a section that is absent."""
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
