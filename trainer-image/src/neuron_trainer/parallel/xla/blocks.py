"""Modules and parameters of one block of the model as this process holds them: every split applied in its order."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import nn

from neuron_api.config import TrainingConfig
from neuron_api.derive import precision, sharding
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators
from neuron_trainer.models import lora
from neuron_trainer.models.blocks.moe.blocked import blocked
from neuron_trainer.models.blocks.moe.experts import HIDDEN, Experts
from neuron_trainer.models.family import Family
from neuron_trainer.models.roles import Role
from neuron_trainer.models.spec import Part
from neuron_trainer.parallel import dtypes, stages
from neuron_trainer.parallel.expert import token_shuffle
from neuron_trainer.parallel.expert.exchange import Exchange
from neuron_trainer.parallel.recompute import is_recomputed, recompute_modules

from . import adapters
from .attention import context, kernels
from .axes import Axes
from .boundaries import Boundaries
from .parameters import Divided, XlaParameter, cuts_of, evenly, host_mesh, offset_of, part_of
from .replicas import run_again
from .tensor_parallel import Layout, Layouts, TensorParallel


class BlockBuilder:
    """Builds blocks of one family, and knows the adapters that they have been given."""

    def __init__(
        self,
        config: TrainingConfig,
        topology: Topology,
        axes: Axes,
        part: Part,
        family: Family,
        device: torch.device,
    ) -> None:
        self._config, self._topology, self._axes, self._part = config, topology, axes, part
        self._family, self._device = family, device
        self._policy = precision.policy(config)
        self.aliases = stages.shared(family.on_meta()) if axes.stages is not None else {}
        """Further names of parameters that stages share, and their first ones."""
        self.adapters: list[lora.Adapters] = []
        """Of each block."""

    def build(self, number: int, *, is_frozen: bool = False) -> tuple[nn.Module, list[XlaParameter]]:
        """Meta device, this block's modules, splits, then each parameter's part; one that is frozen is whole on each
        data-parallel process."""
        module: nn.Module = self._family.on_meta()
        if self._axes.stages is not None:
            stages.prune_to_stage(module, self._config, self._family.layers, number)
        layouts: Layouts = {}
        self._place_experts(module, layouts)
        tensor = self._tensor_parallel(module, layouts)
        if is_frozen:
            module.requires_grad_(False)
        else:
            self._adapt(module, tensor)
        parameters = self._materialise(module, layouts)
        if self._axes.shuffle is not None:
            token_shuffle.apply(module, self._axes.shuffle)
        if self._axes.context is not None:
            context.apply(module, self._axes.context)
        if self._device.type == "xla":
            kernels.apply(module, self._config, self._axes.context)
        held = dict(module.named_modules())
        layers = [name for name in self._family.layers if name in held]
        recompute_modules(module, self._config.model, layers, run_again if self._device.type == "xla" else None)
        if self._policy.is_autocast:
            dtypes.autocast(module, self._device.type)
        if self._axes.context is not None or self._axes.stages is not None:  # else ids say it: whole samples
            module.register_forward_pre_hook(partial(_with_part, self._part), with_kwargs=True)
        return module, parameters

    def _place_experts(self, module: nn.Module, layouts: Layouts) -> None:
        is_host = accelerators.get(self._device.type).is_host
        for child in module.modules():
            if isinstance(child, Experts):
                if not is_host:
                    child.product = blocked
                if self._axes.experts is not None:
                    child.exchange = Exchange(self._axes.experts)
                    layouts |= {parameter: Layout(is_expert=True) for parameter in child.parameters(recurse=False)}

    def _tensor_parallel(self, module: nn.Module, layouts: Layouts) -> TensorParallel | None:
        if self._axes.tensor is None:
            return None
        boundaries = Boundaries(
            self._axes.tensor,
            self._config.distributed_strategy.sequence_parallel,
            dtypes.layer_sums(self._policy),
        )
        tensor = TensorParallel(
            boundaries,
            sharding.requested_replication(self._config),
            layouts,
            partial(is_recomputed, self._config.model),
        )
        tensor.apply(module, self._held_roles(module))
        return tensor

    def _held_roles(self, module: nn.Module) -> Mapping[str, Role]:
        modules = dict(module.named_modules())
        return {
            name: role
            for name, role in self._family.roles.items()
            if name in modules and not isinstance(modules[name], stages.PassThrough)
        }

    def _adapt(self, module: nn.Module, tensor: TensorParallel | None) -> None:
        """Add the adapters of LoRA, split as their linears are."""
        strategy = self._config.model_alignment_strategy
        if strategy is not None and strategy.peft is not None:
            split = adapters.split(self._family.roles, tensor) if tensor is not None else None
            self.adapters.append(lora.attach(module, strategy.peft, split))

    def _materialise(self, module: nn.Module, layouts: Layouts) -> list[XlaParameter]:
        """Replace each meta parameter by its initial value; one full tensor at a time is in memory."""
        hidden = {
            parameter: HIDDEN[name]
            for child in module.modules()
            if isinstance(child, Experts)
            for name, parameter in child.named_parameters(recurse=False)
        }
        parameters = []
        for name, meta in list(module.named_parameters()):
            own = self._parameter(name, meta, layouts.get(meta, Layout()), hidden.get(meta, 0))
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, own.used)
            parameters.append(own)
        if self._axes.stages is None:  # in a pipeline no stage has both names
            self._family.tie(module)
        return parameters

    def _parameter(self, name: str, meta: nn.Parameter, layout: Layout, dim: int) -> XlaParameter:
        """`dim`: what is cut over data parallelism, if it divides evenly."""
        whole = self._family.init_parameter(self.aliases.get(name, name), meta.shape)
        divisions = self._divisions(layout)
        for division in divisions:
            whole = part_of(whole, division)
        axis = self._axes.experts_data if layout.is_expert else self._axes.data
        sharded = None
        if self._config.distributed_strategy.zero1 and axis is not None and meta.requires_grad:
            sharded = evenly(whole.shape, dim, axis)
        # What is never updated needs no master: it is kept in the dtype that is computed with.
        stored = dtypes.TORCH[self._policy.stored if meta.requires_grad else self._policy.compute]
        compute = dtypes.TORCH[self._policy.compute]
        own = whole.to(stored)
        used = nn.Parameter(own.to(self._device, compute), requires_grad=meta.requires_grad)
        is_own_storage = sharded is None and stored == compute
        if is_own_storage:
            leaf = nn.Parameter(used.detach())
        else:
            rows = own if sharded is None else part_of(own, sharded)
            leaf = nn.Parameter(rows.contiguous().clone().to(self._device))
        every = divisions if sharded is None else (*divisions, sharded)
        each = self._topology.world_size // self._topology.pipeline_parallel
        for division in every:
            each //= division.axis.size
        return XlaParameter(
            name,
            meta.shape,
            leaf,
            each,
            cuts_of(every),
            offset_of(meta.shape, every),
            used=used,
            is_own_storage=is_own_storage,
            layout=layout,
            divisions=every,
            mesh=host_mesh(every),
            data=axis if meta.requires_grad else None,
            samples=self._axes.data.size if self._axes.data is not None else 1,
            sharded=sharded,
        )

    def _divisions(self, layout: Layout) -> tuple[Divided, ...]:
        result = []
        if layout.is_expert and self._axes.experts is not None:
            result.append(Divided(0, self._axes.experts))
        if layout.dim is not None and self._axes.tensor is not None:
            result.append(Divided(layout.dim, self._axes.tensor))
        return tuple(result)


def _with_part(part: Part, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    return inputs, {**named, "part": part}
