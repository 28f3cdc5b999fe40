"""Keys of the section `model` and the seed on a whole run: what changes its numbers, and what must not."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from allocations import Allocations
from distributed.tiny import MODEL
from neuron_api import contract
from neuron_trainer.models.blocks.attention import Attention, CoreAttention
from neuron_trainer.models.family import Family
from neuron_trainer.models.spec import Prediction
from neuron_trainer.parallel.native import blocks

from .conftest import alone, train
from .megatron import GPT, MOE, section

pytestmark = [pytest.mark.usefixtures("one_process"), pytest.mark.slow]


def numbers(folder: Path) -> list[tuple[float, ...]]:
    """What must be equal bit for bit."""
    lines = [json.loads(line) for line in (folder / contract.METRICS_FILE).read_text().splitlines()]
    return [(line["step"], line["loss"], line["lr"], line["gradient_norm"]) for line in lines]


def trained_with(tiny: Path, folder: Path, **changes: Any) -> list[tuple[float, ...]]:
    """The run of the fixture `trained` with these keys."""
    off = {"exp_manager__create_checkpoint_callback": False}
    return numbers(train(alone(tiny, folder, trainer__max_steps=6, **off, **changes)))


@pytest.mark.parametrize("seed", [7, 8])
def test_a_seed_gives_the_same_run_again_and_another_one_another(
    seed: int, tiny: Path, tmp_path: Path, trained: Path
) -> None:
    assert (trained_with(tiny, tmp_path, seed=seed) == numbers(trained)) is (seed == 7)


@pytest.mark.parametrize(
    "changes",
    [
        {"qkv_linear": True},
        {"qkv_linear": True, "fuse_qkv": False},
        {"transpose_nki_inputs": False},
        {"use_cpu_initialization": False},
        {"fusions": {"softmax": True}},
        {"fusions": {"flash_attention": True}},
        {"fusions": {"ring_attention": True}},
    ],
    ids=str,
)
def test_what_chooses_a_kernel_or_a_layout_changes_no_number(
    changes: dict[str, Any], tiny: Path, tmp_path: Path, trained: Path
) -> None:
    assert trained_with(tiny, tmp_path, **{f"model__{k}": v for k, v in changes.items()}) == numbers(trained)


# ---- attention -----------------------------------------------------------------------------------------------------


def plain(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Attention as the formula has it, with exp and sum, and the S x S matrix in memory."""
    scores = query @ key.transpose(-2, -1) / query.shape[-1] ** 0.5
    length = query.shape[-2]
    hidden = torch.ones(length, length, dtype=torch.bool).triu(1)
    weights = scores.masked_fill(hidden, -torch.inf).exp()
    return weights / weights.sum(-1, keepdim=True) @ value


def peak_of(attention: Any, length: int) -> int:
    """Bytes of forward and backward."""
    states = [torch.randn(1, 2, length, 16, requires_grad=True) for _ in range(3)]
    with Allocations(states) as allocations:
        attention(*states).sum().backward()
    return allocations.peak


def test_attention_is_its_formula_and_needs_no_memory_for_the_square_of_the_sequence() -> None:
    states = [torch.randn(2, 4, 100, 16) for _ in range(3)]
    torch.testing.assert_close(CoreAttention()(*states), plain(*states), rtol=1e-5, atol=1e-6)
    assert peak_of(CoreAttention(), 1024) < 2.1 * peak_of(CoreAttention(), 512)
    assert peak_of(plain, 1024) > 3.5 * peak_of(plain, 512), "what would be seen"


def test_a_query_head_reads_the_head_that_its_group_shares() -> None:
    query, key, value = torch.randn(2, 4, 9, 8), torch.randn(2, 2, 9, 8), torch.randn(2, 2, 9, 8)
    wide = [one.repeat_interleave(2, dim=1) for one in (key, value)]
    torch.testing.assert_close(CoreAttention()(query, key, value), plain(query, *wide), rtol=1e-5, atol=1e-6)


def graph_of(outputs: Tensor) -> list[str]:
    """Names of the nodes that its gradient passes."""
    seen: dict[Any, str] = {}
    waiting: list[Any] = [outputs.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen[node] = node.name()
            waiting += [following for following, _ in node.next_functions]
    return list(seen.values())


@pytest.mark.parametrize(("is_asked", "key_heads", "copies"), [(False, 4, 0), (True, 4, 3), (True, 2, 0)])
def test_gradients_are_put_in_order_only_on_a_device_that_asks_and_where_they_are_not(
    is_asked: bool, key_heads: int, copies: int
) -> None:
    """It was done on every device but the CPU: three copies in each layer for nothing."""
    states = [torch.randn(2, heads, 9, 8, requires_grad=True) for heads in (4, key_heads, key_heads)]
    attention = CoreAttention()
    attention.wants_contiguous = is_asked
    assert sum("ContiguousGradient" in name for name in graph_of(attention(*states))) == copies


@pytest.mark.parametrize("is_asked", [True, False])
def test_heads_lie_in_order_only_on_a_device_that_asks(is_asked: bool) -> None:
    """A user of torch-neuronx 2.12 reports that a block with views of heads is not compiled otherwise."""
    attention = Attention(32, 4, 2, 8)
    attention.core_attention.wants_contiguous = is_asked
    found: list[bool] = []
    attention.core_attention.kernel = lambda *states: (
        found.extend(each.is_contiguous() for each in states[:3]) or torch.zeros(2, 4, 9, 8)
    )
    attention(torch.randn(2, 9, 32), None, None)
    assert found == [is_asked] * 3


# ---- recompute -----------------------------------------------------------------------------------------------------

EXPERTS = {"model_type": "mixtral", "num_local_experts": 4, "num_experts_per_tok": 2}
FAMILIES = {
    "llama": lambda: Family.from_json(MODEL, section()),
    "mixtral": lambda: Family.from_json({**MODEL, **EXPERTS}, section()),
    "megatron": lambda: Family.from_config(section("megatron", **GPT, moe={**MOE, "frequency": 2}), 96),
}
NAMES = [(family, name) for family, make in FAMILIES.items() for name in (None, *make().recomputable)]


def computed(model: nn.Module) -> dict[str, int]:
    """Counts the calls of each module's forward, those of the backward pass included."""
    counts: dict[str, int] = {}

    def count(name: str, child: nn.Module) -> None:
        forward = child.forward
        counts[name] = 0

        def counted(*given: Any, **named: Any) -> Any:
            counts[name] += 1
            return forward(*given, **named)

        child.forward = counted

    for name, child in model.named_modules():
        count(name, child)
    return counts


@pytest.mark.parametrize(("family", "name"), NAMES)
def test_each_name_computes_again_what_it_names_and_nothing_else(family: str, name: str | None) -> None:
    made = FAMILIES[family]()
    torch.manual_seed(1)
    model = made.on_meta().to_empty(device="cpu")
    made.tie(model)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.1)
    chosen = [key for key, child in model.named_modules() if type(child).__name__ == name]
    if name is None:
        chosen = list(made.layers)
    counts = computed(model)
    granularity = {"activations_checkpoint_granularity": "full" if name is None else "selective"}
    wanted = section(**granularity, activations_checkpoint_recompute=None if name is None else [name]).model
    blocks.recompute_modules(model, wanted, made.layers)
    found = model(torch.arange(24).reshape(2, 12))
    logits = found.logits if isinstance(found, Prediction) else found
    F.cross_entropy(logits.flatten(0, 1), torch.arange(24)).backward()  # type: ignore[no-untyped-call]
    assert chosen, "the name is of a module that there is"
    for key, times in counts.items():
        inside = any(key.startswith(f"{one}.") for one in chosen)
        if key in chosen:
            assert times == 2, key
        elif inside:
            assert times in (0, 1, 2), key  # torch stops when it has what was missing
        else:
            assert times in (0, 1), key  # lists of layers are not called
