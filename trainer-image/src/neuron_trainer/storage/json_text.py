"""JSON as every reader takes it: a number that is not finite is null, for JSON has no NaN and no Infinity."""

import json
import math
from typing import Any


def dumps(value: Any, indent: int | None = None) -> str:
    """As `json.dumps`, for plain values."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value
