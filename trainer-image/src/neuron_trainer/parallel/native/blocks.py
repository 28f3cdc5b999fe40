"""The modules of one block of the model, as this process holds them: every split applied in its order."""

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, distribute_tensor

from neuron_api.config import TrainingConfig
from neuron_api.derive import hardware, precision, sharding
from neuron_api.platform.topology import Topology
from neuron_trainer import accelerators
from neuron_trainer.models import lora
from neuron_trainer.models.blocks.attention import CoreAttention
from neuron_trainer.models.family import Family
from neuron_trainer.models.spec import Part, Prediction
from neuron_trainer.parallel import dtypes, stages
from neuron_trainer.parallel.axis import GroupAxis
from neuron_trainer.parallel.expert import token_shuffle
from neuron_trainer.parallel.recompute import recompute_modules

from . import compilation
from .context import context_parallel
from .data import data_parallel
from .mesh import Meshes
from .tensor import adapters, experts, tensor_parallel
from .tensor.reduction import Reduction


class BlockBuilder:
    """Builds blocks of one family, and knows the adapters that they have been given."""

    def __init__(
        self,
        config: TrainingConfig,
        topology: Topology,
        meshes: Meshes,
        part: Part,
        family: Family,
        device: torch.device,
    ) -> None:
        self._config, self._topology, self._meshes, self._part = config, topology, meshes, part
        self._family, self._device = family, device
        self._policy = precision.policy(config)
        self._compiler = hardware.compiler_of(config, device.type)
        self.aliases = stages.shared(family.on_meta()) if meshes.stages is not None else {}
        """Further names of parameters that stages share, and their first ones."""
        self.adapters: list[lora.Adapters] = []
        """Of each block."""

    @property
    def is_replicated(self) -> bool:
        """Return whether processes share samples, whole weights and nothing else: then DistributedDataParallel, on the
        CPU. On a device its search for unused parameters is a copy and a wait in each step, and FSDP2 overlaps, too."""
        meshes = self._meshes
        if not accelerators.get(self._device.type).is_host:
            return False
        is_split = self._config.distributed_strategy.zero1 or meshes.tensor or meshes.stages or meshes.experts
        return not (is_split or dtypes.is_mixed(self._policy) or self._config.bucket_size_collectives)

    def build(self, number: int, *, is_frozen: bool = False) -> nn.Module:
        """Meta device, this block's modules, tensor parallel, materialise shard by shard, data parallel; one that is
        frozen is whole on each data-parallel process, in the dtype that is computed with."""
        module: nn.Module = self._family.on_meta()
        if self._topology.pipeline_parallel > 1:
            stages.prune_to_stage(module, self._config, self._family.layers, number)
        modules = dict(module.named_modules())
        layers = [name for name in self._family.layers if name in modules]
        self._order_heads(module)
        self._place_experts(module)
        if self._meshes.tensor is not None:
            self._split_layers(module, modules, self._meshes.tensor)
        if is_frozen:
            module.requires_grad_(False)
        else:
            self._adapt(module)
        self._materialise(module)
        if self._meshes.shuffle is not None:
            token_shuffle.apply(module, GroupAxis(self._meshes.shuffle))
        if self._meshes.context is not None:
            context_parallel.apply(module, self._meshes.context, self._part, is_compiled=self._compiler is not None)
        if self._compiler is not None:
            compilation.apply(module, layers, self._compiler, self._device)
        recompute_modules(module, self._config.model, layers)
        if self._meshes.data is not None and not self.is_replicated and not is_frozen:
            data_parallel.apply(
                module,
                self._meshes.data,
                layers,
                data_parallel.mixed_precision(self._policy),
                experts=self._meshes.experts_data,
                bucket=self._config.bucket_size_collectives,
                is_compiled=self._compiler is not None,
            )
        if self._policy.is_autocast:
            dtypes.autocast(module, self._device.type)
        if self._meshes.context is not None or self._meshes.stages is not None:  # else ids say it: whole samples
            module.register_forward_pre_hook(partial(_with_part, self._part), with_kwargs=True)
        if self._meshes.stages is not None:
            module.register_forward_hook(_plain)
        return module

    def _split_layers(self, module: nn.Module, modules: dict[str, nn.Module], tensor: DeviceMesh) -> None:
        """Tensor parallelism, for the layers of the family that this block has; shared weights stay shared."""
        tensor_parallel.apply(
            module,
            tensor,
            {name: role for name, role in self._family.roles.items() if self._holds(modules, name)},
            sequence_parallel=self._config.distributed_strategy.sequence_parallel,
            copies=sharding.requested_replication(self._config),
            reduction=Reduction(dtypes.layer_sums(self._policy)),
        )
        self._tie(module)

    def _order_heads(self, module: nn.Module) -> None:
        if accelerators.get(self._device.type).wants_contiguous:
            for child in module.modules():
                if isinstance(child, CoreAttention):
                    child.wants_contiguous = True

    def _place_experts(self, module: nn.Module) -> None:
        if not accelerators.get(self._device.type).is_host:
            experts.compute_in_blocks(module)
        if self._meshes.experts is not None:
            experts.spread(module, self._meshes.experts)

    def _adapt(self, module: nn.Module) -> None:
        """Add the adapters of LoRA, split as their linears are."""
        strategy = self._config.model_alignment_strategy
        if strategy is None or strategy.peft is None:
            return
        sequence_parallel = self._config.distributed_strategy.sequence_parallel
        mesh = self._meshes.tensor
        split = (
            adapters.split(self._family.roles, mesh, sequence_parallel=sequence_parallel) if mesh is not None else None
        )
        self.adapters.append(lora.attach(module, strategy.peft, split))

    def _tie(self, module: nn.Module) -> None:
        """Share weights with two names again; in a pipeline no stage has both names."""
        if self._meshes.stages is None:
            self._family.tie(module)

    @staticmethod
    def _holds(modules: dict[str, nn.Module], name: str) -> bool:
        return name in modules and not isinstance(modules[name], stages.PassThrough)

    def _materialise(self, module: nn.Module) -> None:
        """Replace each meta parameter by its initial value; one full tensor at a time is in memory."""
        for name, meta in list(module.named_parameters()):
            full = self._family.init_parameter(self.aliases.get(name, name), meta.shape)
            # What is never updated needs no master: it is kept in the dtype that is computed with.
            dtype = self._policy.stored if meta.requires_grad else self._policy.compute
            full = full.to(self._device, dtypes.TORCH[dtype])
            if isinstance(meta, DTensor):
                # src_data_rank None: every rank has the same full tensor and cuts its own shard, no broadcast.
                full = distribute_tensor(full, meta.device_mesh, meta.placements, src_data_rank=None)
            owner, _, attribute = name.rpartition(".")
            setattr(module.get_submodule(owner), attribute, nn.Parameter(full, requires_grad=meta.requires_grad))
        self._tie(module)


def _with_part(part: Part, _: nn.Module, inputs: tuple[Any, ...], named: dict[str, Any]) -> tuple[Any, Any]:
    return inputs, {**named, "part": part}


def _plain(_: nn.Module, __: tuple[Any, ...], output: Any) -> Any:
    """PyTorch's pipelines hand on plain tuples only."""
    return tuple(output) if isinstance(output, Prediction) else output
