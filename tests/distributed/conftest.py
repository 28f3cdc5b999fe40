"""A tiny data set and model on disk, made once; every file of a run is below its own temporary directory."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_trainer import parallel

from . import ranks
from .tiny import MODEL, write_rows


@pytest.fixture(scope="session", params=parallel.backends())
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
