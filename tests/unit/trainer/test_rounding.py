"""Stochastic rounding: unbiased, by place in the whole, and by a published hash."""

import random

import pytest
import torch

from neuron_trainer.rounding import Place, key, noise, stochastic

CPU = torch.device("cpu")


def whole(*shape: int) -> Place:
    return Place(shape, (0,) * len(shape))


MASK = 2**32 - 1


def low_bias(value: int) -> int:
    """C. Wellons' lowbias32, in Python's integers."""
    value = ((value ^ (value >> 16)) * 0x7FEB352D) & MASK
    value = ((value ^ (value >> 15)) * 0x846CA68B) & MASK
    return value ^ (value >> 16)


def hash_of(number: int, low: int, high: int) -> int:
    return low_bias((low_bias((number + low) & MASK) + high) & MASK)


@pytest.mark.parametrize("seed", [12345, -77, 2**62 - 1])
def test_the_bits_are_a_hash_of_row_and_column(seed: int) -> None:
    half = 2**31 - 1
    rows = [hash_of(row, seed & half, (seed >> 31) & half) & half for row in range(3)]
    words = [[hash_of(word, own, row) for word in range(50)] for row, own in enumerate(rows)]
    wanted = [[(word >> shift) & 0xFFFF for word in row for shift in (0, 16)][:99] for row in words]
    assert noise((3, 99), whole(3, 99), seed, CPU).tolist() == wanted


def test_rows_and_columns_are_not_correlated() -> None:
    drawn = noise((512, 512), whole(512, 512), key(1, 2, "w"), CPU).double()
    for lines in (drawn, drawn.t()):
        beside = torch.corrcoef(lines) - torch.eye(512)
        assert beside.abs().max() < 6 / 512**0.5, "of 130,000 pairs"


def test_the_mean_of_many_roundings_is_the_value() -> None:
    count = 100_000
    for value in (1 + 2**-10, -3.3, 1e-30, 6.5e20, 1 / 3):
        exact = torch.full((count,), value)
        found = stochastic(exact, whole(count), key(1, 2, "w"))
        assert len(found.unique()) == 2, "the two neighbours in bf16, and no other"
        gap = float(found.double().max() - found.double().min())
        error = float(found.double().mean() - exact[0].double())
        assert abs(error) < 4 * gap / 2 / count**0.5, "four standard errors at most"


def test_a_step_too_small_for_bf16_is_taken_in_the_mean_and_lost_without() -> None:
    weights, nearest, step = torch.ones(10_000, dtype=torch.bfloat16), torch.ones(1, dtype=torch.bfloat16), 2.0**-11
    for number in range(64):
        weights = stochastic(weights.float() + step, whole(10_000), key(3, number, "w"))
        nearest = (nearest.float() + step).to(torch.bfloat16)
    assert nearest.item() == 1.0
    assert weights.float().mean().item() == pytest.approx(1 + 64 * step, rel=2e-3)


def test_each_value_goes_to_a_neighbour_and_exact_ones_stay() -> None:
    values = torch.randn(4096, generator=torch.Generator().manual_seed(0))
    found = stochastic(values, whole(4096), 7).float()
    down = (values.view(torch.int32) & -0x10000).view(torch.float32)
    up = ((values.view(torch.int32) & -0x10000) + 0x10000).view(torch.float32)
    assert ((found == down) | (found == up)).all()
    exact = values.to(torch.bfloat16)
    assert torch.equal(stochastic(exact.float(), whole(4096), 7), exact)
    odd = torch.tensor([torch.inf, -torch.inf, torch.nan, 0.0, -0.0])
    assert torch.equal(stochastic(odd, whole(5), 7).view(torch.int16), odd.to(torch.bfloat16).view(torch.int16))


@pytest.mark.parametrize("shape", [(37,), (6, 10), (5, 7), (3, 5, 9), ()])
def test_a_shard_is_rounded_as_its_part_of_the_whole(shape: tuple[int, ...]) -> None:
    values = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    full, chosen = stochastic(values, whole(*shape), 11), random.Random(2)
    for _ in range(20):
        begin = [chosen.randrange(size) for size in shape]
        end = [chosen.randint(one, size) for one, size in zip(begin, shape, strict=True)]
        cut = tuple(slice(one, other) for one, other in zip(begin, end, strict=True))
        assert torch.equal(stochastic(values[cut], Place(shape, tuple(begin)), 11), full[cut])


def test_another_step_seed_or_tensor_draws_other_bits() -> None:
    keys = {key(seed, step, name) for seed in (1, 2) for step in (1, 2) for name in ("a", "b")}
    assert len(keys) == 8
    drawn = [noise((64,), whole(64), one, CPU) for one in keys]
    assert len({tuple(one.tolist()) for one in drawn}) == 8
    assert key(1, 23, "a") != key(12, 3, "a")


def test_bits_of_neighbours_and_of_neighbouring_steps_are_not_correlated() -> None:
    first, second = (noise((1 << 16,), whole(1 << 16), key(5, step, "w"), CPU).double() for step in (8, 9))
    for one, other in ((first, second), (first[1:], first[:-1]), (first[4:], first[:-4])):
        assert abs(torch.corrcoef(torch.stack((one, other)))[0, 1].item()) < 4 / 2**8
    counts = torch.bincount((first.long() >> 12), minlength=16).double()
    chi = ((counts - 4096) ** 2 / 4096).sum().item()
    assert chi < 37.7, "15 degrees of freedom, one in a thousand"
