"""From the configuration to a model: the only place that knows which families there are."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Final, NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from neuron_api.config import ModelConfig, TrainingConfig
from neuron_api.derive import architecture
from neuron_api.derive.architecture import Architecture
from neuron_trainer.errors import CheckpointError

from . import config_json
from .hf_tensor import HFTensor
from .llama import LlamaForCausalLM
from .llama import config as llama_config
from .llama import hf_mapping as llama_weights
from .llama import init_weights as llama_initial
from .llama import sharding as llama_plan
from .megatron import MegatronForCausalLM
from .megatron import config as megatron_config
from .megatron import init_weights as megatron_initial
from .megatron import sharding as megatron_plan
from .mistral import config as mistral_config
from .mixtral import MixtralForCausalLM
from .mixtral import config as mixtral_config
from .mixtral import hf_mapping as mixtral_weights
from .mixtral import init_weights as mixtral_initial
from .mixtral import sharding as mixtral_plan
from .roles import Role


class Sizes(Protocol):
    """What every family's config, a dataclass, says."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def vocab_size(self) -> int:
        """Rows of the embedding."""

    @property
    def hidden_size(self) -> int:
        """Width of the model."""

    @property
    def max_sequence(self) -> int | None:
        """Longest sample that the positions reach; None: any."""


class _Parts(NamedTuple):
    """A family's modules, by what they are for."""

    model: Callable[[Any], nn.Module]
    draw: Callable[[str, torch.Size, Any, int], Tensor]
    roles: Callable[[Any], Mapping[str, Role]]
    layers: Callable[[Any], list[str]]
    recomputable: tuple[str, ...]
    theirs: Callable[[str, Any], HFTensor] | None
    """None: `transformers` has no such model."""


_LLAMA: Final = _Parts(
    LlamaForCausalLM, llama_initial.init_parameter,
    llama_plan.roles, llama_plan.layers, llama_plan.RECOMPUTABLE, llama_weights.hf_tensor,
)  # fmt: skip
_FAMILIES: Final[Mapping[str, _Parts]] = {
    "llama": _LLAMA,
    "mistral": _LLAMA,
    "mixtral": _Parts(
        MixtralForCausalLM, mixtral_initial.init_parameter,
        mixtral_plan.roles, mixtral_plan.layers, mixtral_plan.RECOMPUTABLE, mixtral_weights.hf_tensor,
    ),
    "megatron": _Parts(
        MegatronForCausalLM, megatron_initial.init_parameter,
        megatron_plan.roles, megatron_plan.layers, megatron_plan.RECOMPUTABLE, None,
    ),
}  # fmt: skip
"""By `model_type` of config.json, or `megatron`."""

_OF_JSON: Final[Mapping[str, Callable[[Mapping[str, Any], ModelConfig | None], Sizes]]] = {
    "llama": llama_config.from_values,
    "mistral": mistral_config.from_values,
    "mixtral": mixtral_config.from_values,
}
"""From a parsed config.json and the overrides to the family's config."""
_DEFAULTS: Final[Mapping[str, Mapping[str, Any]]] = {
    "mistral": mistral_config.DEFAULTS,
    "mixtral": mixtral_config.DEFAULTS,
}


@dataclass(frozen=True, slots=True)
class Family:
    """A model that is described but not yet built; the backend builds it."""

    kind: str
    """`model_type` of config.json, or `megatron`."""
    config: Sizes
    seed: int
    is_drawn: bool = True
    """False where a checkpoint overwrites every weight: memory is then only taken."""

    @classmethod
    def of(cls, config: TrainingConfig, vocabulary: int | None = None) -> "Family":
        """Read the model config; raises `InputError`. `vocabulary`: the tokenizer's, for a Megatron model."""
        if config.model_source == "megatron":
            return cls("megatron", megatron_config.from_section(config, vocabulary), config.seed)
        return cls.from_json(config_json.read(config.model), config)

    @classmethod
    def from_json(cls, values: Mapping[str, Any], config: TrainingConfig) -> "Family":
        """From a parsed config.json; raises `InputError`."""
        kind = _kind(config_json.checked(values), config.name)
        if config.model.moe is not None and kind != "mixtral":
            raise config_json.wrong(f"a {kind} has no experts.", "Remove the section.", "model.moe")
        return cls(kind, _OF_JSON[kind](values, config.model), config.seed)

    @staticmethod
    def architecture(config: TrainingConfig, vocabulary: int | None = None) -> Architecture | None:
        """The sizes, for arithmetic; None where one is missing. Raises `InputError` as `of`."""
        if config.model_source == "megatron":
            return architecture.from_megatron(config, vocabulary)
        values = config_json.read(config.model)
        kind = _kind(values, config.name)
        return architecture.from_json({**_DEFAULTS.get(kind, {}), **values, "model_type": kind}, config.model)[0]

    @classmethod
    def bare(cls, values: Mapping[str, Any]) -> "Family":
        """From a parsed config.json alone, for weights without a run; raises `InputError`."""
        kind = _kind(config_json.checked(values), "")
        return cls(kind, _OF_JSON[kind](values, None), seed=0, is_drawn=False)

    def on_meta(self) -> nn.Module:
        """The module without storage."""
        with torch.device("meta"), _SkipInit():
            return self._parts.model(self.config)

    def tie(self, module: nn.Module) -> None:
        """Share again what the family shares, after a backend replaced parameters."""
        module.tie_weights()  # type: ignore[operator]  # every family's model has it

    def draw(self, name: str, shape: torch.Size) -> Tensor:
        """The full initial value of a parameter, fp32 on the CPU."""
        if not self.is_drawn:
            return torch.empty(shape)
        return self._parts.draw(name, shape, self.config, self.seed)

    @property
    def roles(self) -> Mapping[str, Role]:
        """Module name to role."""
        return self._parts.roles(self.config)

    @property
    def layers(self) -> list[str]:
        """Names of the repeated layers."""
        return self._parts.layers(self.config)

    @property
    def recomputable(self) -> tuple[str, ...]:
        """Values of `model.activations_checkpoint_recompute`."""
        return self._parts.recomputable

    @property
    def theirs(self) -> dict[str, HFTensor]:
        """What each parameter is in the files of `transformers`, a shared one once; raises `CheckpointError`."""
        named = self._parts.theirs
        if named is None:
            raise CheckpointError(f"transformers has no form of a {self.kind} model")
        return {name: named(name, self.config) for name, _ in self.on_meta().named_parameters()}

    @property
    def parameters(self) -> int:
        """Elements of all parameters, a shared one once."""
        return sum(parameter.numel() for parameter in self.on_meta().parameters())

    @property
    def _parts(self) -> _Parts:
        return _FAMILIES[self.kind]


class _SkipInit(TorchFunctionMode):
    """The functions of `torch.nn.init` do nothing: on the meta device all they do is import torch's compiler, 1.5 s."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        given = dict(kwargs or {})
        if getattr(func, "__module__", "") == nn.init.__name__:
            return args[0] if args else given["tensor"]
        return func(*args, **given)


def _kind(values: Mapping[str, Any], name: str) -> str:
    """`model_type`, else `architectures`, else the experiment's name, which decides alone upstream."""
    architectures = [str(one).removesuffix("ForCausalLM").lower() for one in values.get("architectures") or ()]
    by_name = [kind for kind in _OF_JSON if kind in name.lower()]
    kind = str(values.get("model_type") or next(iter([*architectures, *by_name]), "llama"))
    if kind not in _OF_JSON:
        raise config_json.wrong(f"model_type {kind!r} is not supported by this release.", f"Use {', '.join(_OF_JSON)}.")
    return kind
