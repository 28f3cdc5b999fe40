"""Rows in the slots of a buffer whose size does not depend on data: how experts, and processes, get the rows for them.

A row is one assignment of a token to an expert: row r is of token r // top_k. Rows that go to none have no slot, and
slots may be empty. Which row is in a slot, and which slot a row has, are both kept: gradients take the way back by
index_select, too, so nothing is added up in an order that depends on threads.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Slots:
    """R rows in S slots."""

    slot: Tensor
    """Of each row, int64 [R]; any where it has none."""
    is_placed: Tensor | None
    """Whether a row has one, bool [R]; None: nobody needs to know."""
    row: Tensor
    """In each slot, int64 [S]; any where it is empty."""
    is_filled: Tensor | None
    """Whether a slot has a row, bool [S]; None: nobody needs to know."""

    @classmethod
    def sparse(cls, slot: Tensor, size: int) -> "Slots":
        """Rows by their slots, int64 [R], `size` for a row without one."""
        is_placed = slot < size
        is_filled = is_placed.new_zeros(size + 1).scatter_(0, slot, is_placed)[:size]
        return cls(slot * is_placed, is_placed, _inverse(slot, size + 1)[:size], is_filled)

    @classmethod
    def sorted(cls, order: Tensor, size: int) -> "Slots":
        """The first `size` rows of an order, int64 [R]. Without masks: who computes gives 0 in empty slots and asks
        nothing of them, and rows without one are last and have one that is empty."""
        slot = _inverse(order, len(order))
        return cls(slot if size == len(order) else slot.clamp(max=size - 1), None, order[:size], None)

    def spread(self, tokens: Tensor) -> Tensor:
        """Tokens [T, H] to their rows in the slots [S, H]; any token's in an empty one."""
        result: Tensor = _Spread.apply(tokens, self.slot, self.is_placed, self.row)
        return result

    def collect(self, values: Tensor) -> Tensor:
        """Return what is in the slots [S, H] as rows [R, H], 0 for those without one."""
        result: Tensor = _Collect.apply(values, self.slot, self.is_placed, self.row, self.is_filled)
        return result


def _inverse(slot: Tensor, size: int) -> Tensor:
    """Return the row in each slot; 0 in an empty one."""
    rows = torch.arange(len(slot), device=slot.device)
    return rows.new_zeros(size).scatter_(0, slot, rows)


class _Spread(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tokens: Tensor, slot: Tensor, is_placed: Tensor | None, row: Tensor) -> Tensor:
        ctx.save_for_backward(slot, is_placed)
        ctx.tokens, top_k = len(tokens), len(slot) // len(tokens)
        return tokens.index_select(0, row.div(top_k, rounding_mode="floor") if top_k > 1 else row)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        """A token's is the sum over its rows."""
        of_rows = _take(gradient, *ctx.saved_tensors)
        return of_rows.view(ctx.tokens, -1, of_rows.shape[1]).sum(dim=1), None, None, None


class _Collect(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, values: Tensor, slot: Tensor, is_placed: Tensor | None, row: Tensor, is_filled: Tensor | None
    ) -> Tensor:
        ctx.save_for_backward(row, is_filled)
        return _take(values, slot, is_placed)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None, None]:
        return _take(gradient, *ctx.saved_tensors), None, None, None, None


def _take(values: Tensor, index: Tensor, is_there: Tensor | None) -> Tensor:
    """Return the values at an index, 0 where there is none."""
    result = values.index_select(0, index)
    return result if is_there is None else torch.where(is_there.unsqueeze(1), result, 0.0)


def number(groups: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """Return the place of each row in its group, from 0, int64 [R], and the sizes of the groups, int64 [count].

    Rows whose group is `count` are in none, and have no place: -1.
    """
    is_member = groups == torch.arange(count, device=groups.device).unsqueeze(1)
    running = is_member.cumsum(dim=1, dtype=torch.int32)
    return (running * is_member).sum(dim=0) - 1, running[:, -1].long()


def slots_from(starts: Tensor, groups: Tensor, places: Tensor, nowhere: int) -> Tensor:
    """Return the slot of each row, int64 [R], from where the groups begin, int64 [count]; `nowhere` for one in none."""
    begin = starts.index_select(0, groups.clamp(max=len(starts) - 1))
    return torch.where(places >= 0, begin + places, nowhere)


def equal_parts(groups: Tensor, count: int, room: int) -> Slots:
    """Return as many slots for each group, of which none has more rows."""
    places, _ = number(groups, count)
    starts = torch.arange(count, device=groups.device) * room
    return Slots.sparse(slots_from(starts, groups, places, count * room), count * room)
