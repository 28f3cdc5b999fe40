"""The generated CRD: current, small enough, described; the folder `operator` stays importable as the library's."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.manifest import crd
from neuron_api.resource.reasons import Reason

ROOT = Path(__file__).parents[3]
FILE = ROOT / "crds" / "neurontrainingjobs.neurontraining.dev.yaml"
ANNOTATION_LIMIT = 262_144
"""Bytes of all annotations of an object; client-side apply stores a copy of the object in one."""


def test_the_checked_in_file_is_what_the_models_say() -> None:
    assert FILE.read_text() == crd.to_yaml(), "run `make crds`"


@pytest.mark.slow
def test_client_side_apply_can_store_its_copy() -> None:
    import json

    assert len(json.dumps(yaml.safe_load(FILE.read_text()))) < ANNOTATION_LIMIT - 10_000


def properties(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    for name, child in schema.get("properties", {}).items():
        where = f"{path}.{name}"
        yield where, child
        yield from properties(child, where)
        yield from properties(child.get("items", {}), f"{where}[]")


def test_every_field_has_a_description() -> None:
    schema = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    bare = [where for where, child in properties(schema) if where != ".metadata" and not child.get("description")]
    assert bare == []


def test_every_reason_says_what_it_means() -> None:
    source = (ROOT / "crds" / "src" / "neuron_api" / "resource" / "reasons.py").read_text()
    for reason in Reason:
        after = source.split(f'= "{reason.value}"\n', 1)[1].lstrip()
        assert after.startswith('"""') or reason.value in ("Succeeded", "Failed"), reason


def test_the_folder_operator_has_no_init_so_that_the_standard_library_keeps_its_name() -> None:
    assert not (ROOT / "operator" / "__init__.py").exists()
