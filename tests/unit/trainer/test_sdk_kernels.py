"""Attention by the Neuron SDK's kernels on the backend `xla`: legal calls, PyTorch's numbers, and what happens where a
kernel cannot do what is asked. The SDK is a double; on lazy XLA: tests/xla/test_kernels.py."""

import logging
import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import nxd_double
from neuron_api.config import TrainingConfig
from neuron_api.loading.loader import load_text
from neuron_trainer import parallel
from neuron_trainer.errors import DeviceError
from neuron_trainer.models.blocks.attention import CoreAttention
from neuron_trainer.parallel.xla import sdk
from neuron_trainer.parallel.xla.attention import kernels
from neuron_trainer.parallel.xla.replicas import ReplicaAxis

LENGTH = 2048
TEXT = """
name: kernels
model_source: megatron
seed: 1
trainer: {devices: %d, num_nodes: %d, max_steps: 1}
exp_manager: {explicit_log_dir: /tmp/kernels}
distributed_strategy: {tensor_model_parallel_size: %d, pipeline_model_parallel_size: %d}
data: {micro_batch_size: 1, global_batch_size: 64, data_prefix: [/tmp/x], tokenizer: {type: /tmp/t}}
model:
  encoder_seq_length: 2048
  max_position_embeddings: 4096
  num_layers: 8
  hidden_size: 64
  ffn_hidden_size: 64
  num_attention_heads: 8
  optim: {name: adamw, lr: 1.0e-3, sched: {name: LinearAnnealingWithWarmUp, warmup_steps: 1, max_steps: 2}}
precision: {type: fp32}
"""


@pytest.fixture(autouse=True)
def told_anew(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Each test hears each sentence, on a machine of its own."""
    monkeypatch.delenv("PJRT_DEVICE", raising=False)
    kernels._say.cache_clear()
    sdk.is_trn1.cache_clear()
    yield
    sdk.is_trn1.cache_clear()


def config(*changes: str, sizes: tuple[int, int, int, int] = (2, 1, 1, 1)) -> TrainingConfig:
    loaded = load_text(TEXT % sizes, list(changes))
    assert loaded.config is not None, loaded.findings
    return loaded.config


def states(
    *, heads: int = 4, kv_heads: int = 2, size: int = 8, length: int = LENGTH, dtype: Any = torch.float32
) -> Any:
    generator = torch.Generator().manual_seed(3)
    shapes = [(1, count, length, size) for count in (heads, kv_heads, kv_heads)]
    return [torch.randn(shape, generator=generator).to(dtype).requires_grad_() for shape in shapes]


def computed(core: CoreAttention, inputs: list[Tensor], mask: Tensor | None = None) -> list[Tensor]:
    """The output, and the gradients of a sum that weighs each element."""
    out = core(*inputs, mask)
    weights = torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view(out.shape)
    return [out.detach(), *torch.autograd.grad((out * weights).sum(), inputs)]


def with_kernel(core: CoreAttention, *changes: str) -> CoreAttention:
    """The same attention as a run with these keys has it on a lazy device."""
    kernels.apply(nn.ModuleList([core]), config("+model.fusions.flash_attention=True", *changes), None)
    return core


@pytest.mark.parametrize("is_transposed", [True, False])
@pytest.mark.parametrize(("heads", "kv_heads", "size"), [(4, 2, 4), (1, 1, 128), (3, 1, 4)])
def test_the_flash_kernel_has_the_numbers_of_pytorch(heads: int, kv_heads: int, size: int, is_transposed: bool) -> None:
    inputs = states(heads=heads, kv_heads=kv_heads, size=size)
    wanted = computed(CoreAttention(), inputs)
    with nxd_double.installed() as calls:
        results = computed(with_kernel(CoreAttention(), f"+model.transpose_nki_inputs={is_transposed}"), inputs)
    shape = (1, heads, size, LENGTH) if is_transposed else (1, heads, LENGTH, size)
    assert calls == [("flash", shape, torch.float32, 1)]
    for result, other in zip(results, wanted, strict=True):
        torch.testing.assert_close(result, other, rtol=1e-5, atol=1e-5)


def test_rotated_states_that_are_wider_reach_the_kernel_in_one_dtype() -> None:
    query, key, value = states()
    with nxd_double.installed() as calls:
        out = with_kernel(CoreAttention())(query, key, value.bfloat16(), None)
    assert out.dtype == torch.bfloat16
    assert [call[2] for call in calls] == [torch.bfloat16]
    torch.testing.assert_close(out.float(), CoreAttention()(query, key, value), rtol=2e-2, atol=2e-2)


@pytest.mark.parametrize(
    ("target", "change", "lnc"),
    [("trn1", "trainer.devices=2", 1), ("trn2", "trainer.devices=2", 2), ("trn2", "+trainer.lnc=1", 1)],
)
def test_heads_are_shared_by_the_cores_of_a_logical_one(target: str, change: str, lnc: int) -> None:
    with nxd_double.installed(target) as calls:
        with_kernel(CoreAttention(), change)(*states(), None)
    assert [call[3] for call in calls] == [lnc]


CASES: dict[str, tuple[dict[str, Any], dict[str, Any], bool]] = {
    "a sliding window of 7 tokens": ({"window": 7}, {}, False),
    "documents that do not see each other": ({}, {}, True),
    "dropout of attention": ({"dropout": 1e-9}, {}, False),
    "heads of 129 elements, more than 128": ({}, {"size": 129}, False),
    "2049 tokens, no multiple of 2048": ({}, {"length": 2049}, False),
}
"""What a kernel cannot do, with what an attention is made of, what it is given, and whether it has a mask."""


@pytest.mark.parametrize("obstacle", CASES)
def test_what_a_kernel_cannot_do_pytorch_does_and_it_is_said_once(
    obstacle: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, given, has_mask = CASES[obstacle]
    inputs = states(**given)
    length = inputs[0].shape[2]
    mask = torch.ones(length, length, dtype=torch.bool).tril().triu(-9) if has_mask else None
    wanted = computed(CoreAttention(**made), inputs, mask)
    with nxd_double.installed() as calls, caplog.at_level(logging.WARNING):
        results = [computed(with_kernel(CoreAttention(**made)), inputs, mask) for _ in range(2)]
    assert calls == []
    assert [record.message for record in caplog.records] == [
        f"the Neuron SDK's attention kernel cannot do {obstacle}: PyTorch's operators compute attention."
    ]
    assert all(torch.equal(result, other) for result, other in zip(results[0], wanted, strict=True))


def test_a_window_that_is_no_shorter_than_a_sample_is_none() -> None:
    with nxd_double.installed() as calls:
        with_kernel(CoreAttention(window=LENGTH))(*states(), None)
    assert len(calls) == 1


def test_an_odd_number_of_heads_is_not_shared() -> None:
    with nxd_double.installed("trn2") as calls:
        with_kernel(CoreAttention())(*states(heads=3, kv_heads=1), None)
    assert calls == []


def test_without_the_key_no_kernel_is_called() -> None:
    core = CoreAttention()
    with nxd_double.installed():
        kernels.apply(nn.ModuleList([core]), config(), None)
    assert core.kernel is None


def test_a_ring_of_one_is_the_flash_kernel() -> None:
    core = CoreAttention()
    with nxd_double.installed() as calls:
        kernels.apply(nn.ModuleList([core]), config("+model.fusions.ring_attention=True"), None)
        core(*states(), None)
    assert [call[0] for call in calls] == ["flash"]


def test_a_fused_softmax_is_an_operator_of_the_graph() -> None:
    inputs = states(length=64)
    plain, written = CoreAttention(), CoreAttention()
    kernels.apply(nn.ModuleList([written]), config("+model.fusions.softmax=True"), None)
    with torch.profiler.profile() as profile:
        results = computed(written, inputs)
    assert "aten::softmax" in {event.name for event in profile.events()}
    for result, other in zip(results, computed(plain, inputs), strict=True):
        torch.testing.assert_close(result, other, rtol=1e-5, atol=1e-5)


class TestWithoutTheSdk:
    """neuronx-distributed is not installed where the tests run."""

    def test_on_a_host_s_runtime_pytorch_computes_and_it_is_said(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setenv("PJRT_DEVICE", "CPU")
        core = with_kernel(CoreAttention())
        assert core.kernel is None
        assert "neuronx_distributed.kernels.flash_attn.nki_flash_attn_func cannot be imported" in caplog.text
        assert "PyTorch's operators compute attention." in caplog.text

    def test_on_neuron_s_runtime_a_kernel_that_the_file_asks_for_is_missed(self) -> None:
        with pytest.raises(DeviceError, match="nki_flash_attn_func cannot be imported"):
            with_kernel(CoreAttention())

    def test_a_ring_goes_on_with_gathered_keys(self, caplog: pytest.LogCaptureFixture) -> None:
        core = CoreAttention()
        gathered = core.kernel = core.without_kernel
        kernels.apply(nn.ModuleList([core]), config(), ReplicaAxis(((0, 1),), (0, 1), 0))
        assert core.kernel == gathered
        assert "nki_ring_attn_func cannot be imported" in caplog.text

    def test_the_launcher_refuses_it_before_a_process_starts(self) -> None:
        asked = config("+model.fusions.flash_attention=True")
        (missed,) = parallel.provider("xla").check(asked, "xla")
        assert (missed.key, missed.message) == (
            "model.fusions.flash_attention",
            "it needs neuronx_distributed, which this image has not.",
        )
        assert not list(parallel.provider("xla").check(asked, "cpu"))
        assert not list(parallel.provider("xla").check(config(), "xla"))


@pytest.mark.parametrize(("runtime", "codes"), [("NEURON", ["NTJ-3020"]), ("CPU", [])])
def test_samples_that_the_kernel_refuses_are_refused_before_a_process_starts(
    runtime: str, codes: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PJRT_DEVICE", runtime)
    short = config("+model.fusions.flash_attention=True", "model.encoder_seq_length=1024")
    monkeypatch.setattr(sdk, "is_present", lambda: True)
    findings = list(parallel.provider("xla").check(short, "xla"))
    assert [finding.code for finding in findings] == codes
    assert all(re.search("Use 2048, or set", str(finding)) for finding in findings)
