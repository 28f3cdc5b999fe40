"""A tiny data set and model on disk, made once; every file of a run is below its own temporary directory."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from neuron_trainer import parallel

from . import ranks
from .tiny import MODEL, write_rows

BACKENDS: Final = parallel.backends() if os.environ.get("NTO_TEST_BACKENDS") else ("native",)
"""`make test-backends` runs the whole suite for all; `make test` for one, and of the others test_other_backends.py."""


@pytest.fixture(scope="session", params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> Iterator[str]:
    """The name of each backend in turn: what `ranks.run` starts uses it. Modules with
    `pytest.mark.usefixtures("backend")` are what every backend must fulfil."""
    ranks.BACKEND = request.param
    yield request.param
    ranks.BACKEND = None


@pytest.fixture(scope="session")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Directory with `model.json` and `data` (256 rows of 32 tokens)."""
    folder = tmp_path_factory.mktemp("tiny")
    (folder / "model.json").write_text(json.dumps(MODEL))
    write_rows(folder / "data", rows=256)
    return folder
