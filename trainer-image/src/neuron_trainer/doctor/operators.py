"""Operators that are known to give wrong numbers on a NeuronCore without an error, each against the host.

Numbers are whole and small, so a device has no reason to differ by a bit.
"""

from collections.abc import Callable
from typing import Final

import torch
from torch import Tensor

_ROWS: Final = 8
_COLUMNS: Final = 4096
"""As long as a vocabulary's part: short dimensions are known to be right where long ones are not."""
_TOP: Final = 4
_FACTOR: Final = 0x7FEB352D
"""Of the hash of random bits (`models.blocks.seeds`), whose products do not fit into 32 bits."""


def compare(device: torch.device) -> dict[str, str]:
    """Return by operator in what its numbers differ from the host's; empty where they do not."""
    return {name: _difference(operator, device) for name, operator in OPERATORS.items()}


def _difference(operator: Callable[[torch.device], Tensor], device: torch.device) -> str:
    expected = operator(torch.device("cpu"))
    try:
        made = operator(device).cpu()
    except RuntimeError as problem:
        return str(problem).strip().partition("\n")[0]
    if made.shape == expected.shape and torch.equal(made, expected):
        return ""
    return f"gives {made.flatten()[:4].tolist()}, not {expected.flatten()[:4].tolist()}"


def _numbers(device: torch.device) -> Tensor:
    """Return fp32 [rows, columns] of different whole numbers in each row, in no order."""
    rows, columns = torch.arange(_ROWS).unsqueeze(1), torch.arange(_COLUMNS)
    return ((columns * 1021 + rows * 17 + 5) % _COLUMNS).float().to(device)


def _places(device: torch.device) -> Tensor:
    """Return int64 [rows, 4], none twice in a row."""
    rows = torch.arange(_ROWS).unsqueeze(1)
    return ((rows * 67 + torch.arange(_TOP) * 1013 + 11) % _COLUMNS).to(device)


def _bool_sum(device: torch.device) -> Tensor:
    return (_numbers(device) > _COLUMNS // 2).sum(dim=1).to(torch.int32)


def _gather(device: torch.device) -> Tensor:
    return _numbers(device).gather(1, _places(device))


def _scatter_add(device: torch.device) -> Tensor:
    added = torch.arange(1.0, _ROWS * _TOP + 1).view(_ROWS, _TOP).to(device)
    return _numbers(device).scatter_add(1, _places(device), added)


def _cumsum(device: torch.device) -> Tensor:
    return _numbers(device).to(torch.int32).cumsum(dim=1, dtype=torch.int32)


def _product(device: torch.device) -> Tensor:
    return _numbers(device).to(torch.int32) * _FACTOR


def _topk(device: torch.device) -> Tensor:
    return _numbers(device).topk(_TOP, dim=1).indices.to(torch.int32)


OPERATORS: Final[dict[str, Callable[[torch.device], Tensor]]] = {
    "bool sum": _bool_sum,
    "gather": _gather,
    "scatter_add": _scatter_add,
    "int32 cumsum": _cumsum,
    "int32 product": _product,
    "topk": _topk,
}
"""By the names that the report has."""
