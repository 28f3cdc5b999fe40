"""`submit` on a cluster: what is stored in which order, and that a job which is refused changes nothing.

The connection is a stand-in that stores what it is given and refuses as the API server does; tests/integration has the
real one.
"""

from pathlib import Path
from typing import Any

import pytest

from neuron_operator.cli.submission import manifests, submit
from neuron_operator.cli.submission.manifests import Objects, Request
from neuron_operator.kube.errors import UserInputError

Json = dict[str, Any]

QUICKSTART = Path(__file__).parents[3] / "examples" / "quickstart.yaml"


class Stored:
    """Stands in for a `Connection`."""

    namespace = "team"

    def __init__(self) -> None:
        self.jobs: dict[str, Json] = {}
        self.maps: dict[str, Json] = {}
        self.refusal: str | None = None

    def create_job(self, body: Json, *, dry_run: bool = False) -> Json | None:
        if self.refusal:
            raise UserInputError(self.refusal)
        name = body["metadata"]["name"]
        if name in self.jobs:
            return None
        if not dry_run:
            self.jobs[name] = body
        return body

    def job(self, name: str) -> Json:
        return self.jobs[name]

    def config_map(self, name: str) -> Json | None:
        return self.maps.get(name)

    def apply_config_map(self, body: Json, *, dry_run: bool = False) -> Json:
        if not dry_run:
            self.maps[body["metadata"]["name"]] = body
        return body


def objects(*overrides: str) -> Objects:
    made = manifests.from_request(Request(str(QUICKSTART), overrides))
    assert [body["metadata"]["name"] for body in made.config_maps] == ["quickstart-model"]
    return made


def create(stored: Stored, made: Objects, *, dry_run: bool = False) -> bool:
    return submit.create(stored, made, dry_run=dry_run)[0]  # type: ignore[arg-type]


def other_model(made: Objects) -> Objects:
    made.config_maps[0]["data"] = {"config.json": "{}"}
    return made


def test_a_job_that_is_refused_changes_no_config_map() -> None:
    stored = Stored()
    assert create(stored, objects())
    before = dict(stored.maps)
    stored.refusal = "exceeded quota"
    with pytest.raises(UserInputError, match="exceeded quota"):
        create(stored, other_model(objects("trainer.max_steps=7")))
    assert stored.maps == before


def test_a_dry_run_stores_nothing() -> None:
    stored = Stored()
    assert create(stored, objects(), dry_run=True)
    assert (stored.jobs, stored.maps) == ({}, {})


def test_the_same_job_is_unchanged_and_its_missing_config_map_comes_back() -> None:
    stored = Stored()
    assert create(stored, objects())
    assert not create(stored, objects())
    stored.maps.clear()
    assert not create(stored, objects())
    assert stored.maps.keys() == {"quickstart-model"}


def test_another_config_map_is_no_unchanged_job() -> None:
    stored = Stored()
    create(stored, objects())
    before = dict(stored.maps)
    with pytest.raises(UserInputError, match="its ConfigMap quickstart-model is not: nothing was changed"):
        create(stored, other_model(objects()))
    assert stored.maps == before


def test_another_job_of_the_name_is_named_before_anything_is_stored() -> None:
    stored = Stored()
    create(stored, objects())
    before = dict(stored.maps)
    with pytest.raises(UserInputError, match="there is another job quickstart in namespace team"):
        create(stored, other_model(objects("trainer.max_steps=7")))
    assert stored.maps == before


def test_a_job_that_is_being_deleted_is_not_unchanged() -> None:
    stored = Stored()
    create(stored, objects())
    stored.jobs["quickstart"]["metadata"]["deletionTimestamp"] = "2026-11-30T12:00:00Z"
    with pytest.raises(
        UserInputError, match=r"is being deleted \(Pending\): submit again when it is gone \(kubectl wait"
    ):
        create(stored, objects())


def test_a_job_that_somebody_else_creates_in_between_is_compared() -> None:
    stored = Stored()
    made = objects()
    apply = stored.apply_config_map

    def overtaken(body: Json, *, dry_run: bool = False) -> Json:
        stored.jobs["quickstart"] = {**made.job, "metadata": {**made.job["metadata"], "uid": "1"}}
        return apply(body, dry_run=dry_run)

    stored.apply_config_map = overtaken  # type: ignore[method-assign]
    assert not create(stored, made)
