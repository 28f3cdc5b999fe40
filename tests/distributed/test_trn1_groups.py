"""Which processes of a node of 32 form a group on Trn1: the order of neuronx-distributed, in one that plays rank 9.

The SDK is a double (tests/support/nxd_double.py), and the process group PyTorch's fake one: that the device's links run
this way is proved by the device alone (docs/hardware-checklist.md).
"""

import os
from collections.abc import Callable
from typing import Any

import pytest

from .ranks import run

TEXT = """
name: groups
model_source: megatron
seed: 1
trainer: {devices: 32, num_nodes: 1, max_steps: 1}
exp_manager: {explicit_log_dir: /tmp/groups}
distributed_strategy: {tensor_model_parallel_size: %d, pipeline_model_parallel_size: %d}
data: {micro_batch_size: 1, global_batch_size: 64, data_prefix: [/tmp/x], tokenizer: {type: /tmp/t}}
model:
  encoder_seq_length: 2048
  max_position_embeddings: 2048
  num_layers: 8
  hidden_size: 64
  ffn_hidden_size: 64
  num_attention_heads: 8
  optim: {name: adamw, lr: 1.0e-3, sched: {name: LinearAnnealingWithWarmUp, warmup_steps: 1, max_steps: 2}}
precision: {type: fp32}
"""
EXPERTS = ("+model.moe.num_experts=2", "+distributed_strategy.expert_model_parallel_size=2")


def axes_of(tensor: int, pipeline: int, *changes: str, target: str | None = None) -> Any:
    """Those of the node; `target`: the compiler's, by default Trn1."""
    import torch

    import nxd_double
    from neuron_api.loading.loader import load_text
    from neuron_api.platform.topology import Topology
    from neuron_trainer.parallel.xla import axes, sdk

    loaded = load_text(TEXT % (tensor, pipeline), list(changes))
    assert loaded.config is not None, loaded.findings
    sdk.is_trn1.cache_clear()
    with nxd_double.installed(*([] if target is None else [target])):
        return axes.build(Topology.from_config(loaded.config), torch.device("xla"), loaded.config)


def quarters_of_a_node_lie_between_4() -> None:
    built = axes_of(4, 1)
    assert (built.tensor.ranks, built.tensor.rank) == ((1, 9, 17, 25), 1)
    assert (built.data.ranks, built.data_rank) == (tuple(range(8, 16)), 1)


def other_sizes_are_neighbours() -> None:
    built = axes_of(8, 1, target="trn1")
    assert (built.tensor.ranks, built.data_rank) == (tuple(range(8, 16)), 1)


def without_a_neuron_runtime_all_are_neighbours() -> None:
    os.environ["PJRT_DEVICE"] = "CPU"
    built = axes_of(4, 1, target="")
    assert (built.tensor.ranks, built.data_rank) == ((8, 9, 10, 11), 2)


def sizes_without_an_order_are_refused() -> None:
    from neuron_trainer.errors import DeviceError

    with pytest.raises(DeviceError, match="no order of 32 processes for tensor 4 x pipeline 8"):
        axes_of(4, 8)
    with pytest.raises(DeviceError, match="expert 2, 32 a node: TP=4"):
        axes_of(4, 1, *EXPERTS)


def compressed_groups_are_named_by_the_first() -> None:
    from neuron_trainer.parallel.xla.replicas import ReplicaAxis

    built = axes_of(8, 1, "+neuron_experimental_compress_rg=True")
    assert isinstance(built.tensor, ReplicaAxis)
    assert isinstance(built.data, ReplicaAxis)
    assert built.tensor.groups == (tuple(range(8)),)
    assert len(built.data.groups) == 8


CASES = [
    quarters_of_a_node_lie_between_4,
    other_sizes_are_neighbours,
    without_a_neuron_runtime_all_are_neighbours,
    sizes_without_an_order_are_refused,
    compressed_groups_are_named_by_the_first,
]


def as_rank_9(_: int, __: int, case: Callable[[], None]) -> None:
    """Run a case as rank 9 of 32."""
    import torch.distributed as dist
    from torch.testing._internal.distributed.fake_pg import FakeStore

    dist.init_process_group("fake", store=FakeStore(), rank=9, world_size=32)
    case()
    dist.destroy_process_group()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_groups_on_trn1(case: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PJRT_DEVICE", raising=False)
    run(as_rank_9, 1, case)
