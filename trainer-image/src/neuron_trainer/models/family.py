"""From the configuration to a model: the only place that knows which families there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from neuron_api.config import ModelConfig, TrainingConfig
from neuron_api.derive import architecture
from neuron_api.derive.architecture import Architecture
from neuron_api.derive.config_json import model_type
from neuron_trainer.errors import CheckpointError

from . import config_json, lora
from .megatron import config as megatron_config
from .roles import Role
from .spec import FamilySpec, HFTensor, Sizes

_FOLDERS: Final = ("llama", "mistral", "mixtral", "megatron")
_FAMILIES: Final[Mapping[str, FamilySpec]] = {
    spec.kind: spec for folder in _FOLDERS for spec in [import_module(f"{__package__}.{folder}.family").FAMILY]
}
"""By `model_type` of config.json, or `megatron`."""


@dataclass(frozen=True, slots=True)
class Family:
    """A model that is described but not yet built; the backend builds it."""

    kind: str
    """`model_type` of config.json, or `megatron`."""
    config: Sizes
    seed: int
    initialize: bool = True
    """False where a checkpoint overwrites every weight: memory is then only taken."""

    @classmethod
    def from_config(cls, config: TrainingConfig, vocabulary: int | None = None) -> "Family":
        """Read the model's configuration; raises `InputError`. `vocabulary`: the tokenizer's, for a Megatron model."""
        if config.model_source == "megatron":
            return cls("megatron", megatron_config.from_section(config, vocabulary), config.seed)
        return cls.from_json(config_json.read(config.model), config)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], config: TrainingConfig) -> "Family":
        """Return the family of a parsed config.json; raises `InputError`."""
        kind = _kind(config_json.checked(values), config.name)
        if config.model.moe is not None and not _FAMILIES[kind].has_experts:
            raise config_json.wrong(f"a {kind} has no experts.", "Remove the section.", "model.moe")
        return cls(kind, _reader(kind)(values, config.model), config.seed)

    @staticmethod
    def architecture(config: TrainingConfig, vocabulary: int | None = None) -> Architecture | None:
        """Return the sizes, for arithmetic; None where one is missing. Raises `InputError` as `from_config`."""
        if config.model_source == "megatron":
            return architecture.from_megatron(config, vocabulary)
        values = config_json.read(config.model)
        kind = _kind(values, config.name)
        return architecture.from_json({**values, "model_type": kind}, config.model)[0]

    @classmethod
    def without_run(cls, values: Mapping[str, Any]) -> "Family":
        """Return the family of a parsed config.json alone, to convert weights; raises `InputError`."""
        kind = _kind(config_json.checked(values), "")
        return cls(kind, _reader(kind)(values, None), seed=0, initialize=False)

    def on_meta(self) -> nn.Module:
        """Return the module without storage."""
        with torch.device("meta"), _SkipInit():
            return self._spec.model(self.config)

    def tie(self, module: nn.Module) -> None:
        """Share again what the family shares, after a backend replaced parameters."""
        module.tie_weights()  # type: ignore[operator]  # every family's model has it

    def init_parameter(self, name: str, shape: torch.Size) -> Tensor:
        """Return the full initial value of a parameter, fp32 on the CPU."""
        if lora.names.is_adapter(name):
            return lora.init_parameter(name, shape, self.seed)
        if not self.initialize:
            return torch.empty(shape)
        return self._spec.init_parameter(name, shape, self.config, self.seed)

    @property
    def roles(self) -> Mapping[str, Role]:
        """Return the role of each module by name."""
        return self._spec.roles(self.config)

    @property
    def layers(self) -> list[str]:
        """Return the names of the repeated layers."""
        return self._spec.layers(self.config)

    @property
    def recomputable(self) -> tuple[str, ...]:
        """Return the values of `model.activations_checkpoint_recompute`."""
        return self._spec.recomputable

    @property
    def hf_tensors(self) -> dict[str, HFTensor]:
        """Return what each parameter is in the files of `transformers`, a shared one once; raises `CheckpointError`."""
        hf_tensor = self._spec.hf_tensor
        if hf_tensor is None:
            raise CheckpointError(f"transformers has no form of a {self.kind} model")
        return {name: hf_tensor(name, self.config) for name, _ in self.on_meta().named_parameters()}

    @property
    def parameters(self) -> int:
        """Return the number of elements of all parameters, a shared one once."""
        return sum(parameter.numel() for parameter in self.on_meta().parameters())

    @property
    def _spec(self) -> FamilySpec:
        return _FAMILIES[self.kind]


def spec_of(kind: str) -> FamilySpec | None:
    """Return what is known of a family; None if this release has no such family."""
    return _FAMILIES.get(kind)


class _SkipInit(TorchFunctionMode):
    """The functions of `torch.nn.init` do nothing: on the meta device all they do is import torch's compiler, 1.5 s."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        named = dict(kwargs or {})
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else named["tensor"]
        return func(*args, **named)


def _kind(values: Mapping[str, Any], name: str) -> str:
    kind, of_json = model_type(values, name), [spec.kind for spec in _FAMILIES.values() if spec.from_json]
    if kind not in of_json:
        raise config_json.wrong(f"model_type {kind!r} is not supported by this release.", f"Use {', '.join(of_json)}.")
    return kind


def _reader(kind: str) -> Callable[[Mapping[str, Any], ModelConfig | None], Sizes]:
    reader = _FAMILIES[kind].from_json
    assert reader is not None
    return reader
