"""ConfigMaps that somebody made in haste or in malice, as the operator meets them through `spec.configFrom`.

What is in the text is `unit/api/test_hostile_documents.py`'s and `test_names_in_paths.py` has the names. How far this
looked: no such ConfigMap, no such key, a key that holds bytes, ConfigMaps with very many and very long keys, no data at
all, keys that are paths; texts of 1 MB in hundreds of jobs (memory), and one that takes long among others (time).
"""

import base64
from typing import Any

import pytest

from builders import NOW, OPTIONS, make_job, observed
from neuron_api.loading.limits import MAX_BYTES
from neuron_api.resource.reasons import ConditionType, Reason
from neuron_api.resource.spec import ConfigMapKey
from neuron_api.resource.status import Condition
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.outcome import finalize_status
from neuron_operator.planning.plan import PlanOutcome
from neuron_operator.planning.planner import plan
from neuron_operator.planning.validation import config_source, validation
from neuron_operator.planning.validation.validation import SMALL, Accepted, Refused

JOB = make_job().config_from("mine", "config.yaml").build()
SOURCE = ConfigMapKey(name="mine", key="config.yaml")
GOOD = validation.config_text(make_job().build())
ROOM = 32_768
"""Letters of a condition's message, in the CRD."""


def read(found: dict[str, Any] | None, source: ConfigMapKey = SOURCE) -> ConfigText:
    return config_source.read(found, source, "team")


def stalled(given: ConfigText) -> Condition:
    """The one condition that tells it."""
    planned = plan(observed(JOB, config=given), OPTIONS, NOW)
    assert (planned.creates, planned.applies, planned.deletes) == ((), (), ())
    status = finalize_status(planned, PlanOutcome(), NOW)
    return next(one for one in status.conditions if one.type is ConditionType.STALLED)


CASES: dict[str, tuple[dict[str, Any] | None, str]] = {
    "none": (None, "there is no ConfigMap mine in namespace team. Create it"),
    "no data": ({}, "ConfigMap mine has no key config.yaml (it has: none). Create it"),
    "null data": ({"data": None, "binaryData": None}, "(it has: none)"),
    "another key": ({"data": {"config.yml": "a: 1"}}, "(it has: config.yml)"),
    "bytes": (
        {"binaryData": {"config.yaml": base64.b64encode(b"\xff\xfe\x00").decode()}},
        "key config.yaml of ConfigMap mine holds binary data (binaryData), and a configuration is text. Create",
    ),
    "bytes under another key": ({"binaryData": {"x.gz": "H4s="}}, "(it has: x.gz)"),
    "keys that are paths": ({"data": {"..config.yaml": "a", "...": "b"}}, "(it has: ..., ..config.yaml)"),
    "100,000 keys": (
        {"data": {f"key-{number:06}": "" for number in range(100_000)}},
        "key-000008, key-000009 and 99990 more)",
    ),
    "keys of 253 letters": ({"data": {f"{number:03}{'k' * 250}": "" for number in range(4_000)}}, "and 3990 more)"),
}


@pytest.mark.parametrize("name", CASES)
def test_what_is_wrong_with_a_config_map_is_one_sentence_that_a_condition_holds(name: str) -> None:
    found, sentence = CASES[name]
    told = stalled(read(found))
    assert told.reason is Reason.CONFIG_MAP_NOT_FOUND
    assert told.message.startswith("spec.configFrom.configMapKeyRef.")
    assert sentence in told.message
    assert "the job then continues" in told.message
    assert len(told.message) < ROOM
    assert told.message.isprintable()


def test_a_key_that_looks_like_a_path_is_a_key() -> None:
    source = ConfigMapKey(name="mine", key="..config.yaml")
    assert read({"data": {"..config.yaml": GOOD}}, source).text == GOOD


TEXTS = {
    "empty": "",
    "a NUL": GOOD + "\x00",
    "half of a pair": GOOD + "# \ud800",
    "a huge integer": GOOD.replace("seed: 1", "seed: " + "9" * 60_000, 1),
    "1 MB and a byte": "#" * (MAX_BYTES + 1),
    "an alias bomb": "\n".join(["a0: &a0 [x,x]", *(f"a{n}: &a{n} [*a{n - 1},*a{n - 1}]" for n in range(1, 60))]),
    "10,000 deep": "[" * 10_000,
    "a pickle's tag": "a: !!python/object/apply:os.system [true]",
    "a list": "- a",
    "a terminal's commands": '"\\e]0;owned\\a": 1',
}


@pytest.mark.parametrize("name", TEXTS)
def test_what_is_wrong_with_its_text_is_told_by_a_condition(name: str) -> None:
    told = stalled(ConfigText(TEXTS[name]))
    assert told.reason is Reason.CONFIG_INVALID
    assert 15 < len(told.message) < ROOM
    assert told.message.replace("\n", "").isprintable()


def test_jobs_with_texts_of_1_mb_do_not_fill_the_memory() -> None:
    """Answers are kept by their questions: 512 of 1 MB each are more than the operator's limit (512Mi)."""
    small, large = validation._small_answer, validation._large_answer
    before = small.cache_info().currsize
    for number in range(3):
        assert isinstance(validation.validate(JOB, ConfigText(f"[{number}" + " " * 200_000), OPTIONS), Refused)
    assert small.cache_info().currsize == before
    assert (small.cache_info().maxsize or 0) * SMALL < 64_000_000
    assert (large.cache_info().maxsize or 0) * 3 * MAX_BYTES < 64_000_000


def test_jobs_with_configurations_of_1_mb_do_not_fill_the_memory_either() -> None:
    small, large = validation._small_yaml, validation._large_yaml
    before = small.cache_info().currsize
    for number in range(3):
        text = validation.config_text(make_job().config("name", f"{number}" + "x" * 70_000).build())
        assert len(text) > SMALL
    assert small.cache_info().currsize == before
    assert (large.cache_info().maxsize or 0) * 3 * MAX_BYTES < 64_000_000


def test_an_answer_is_the_same_whether_it_is_kept_or_not() -> None:
    job = make_job().config_from("mine", "config.yaml").build()
    large = f"{GOOD}# {'x' * 100_000}\n"
    small, big = (validation.validate(job, ConfigText(text), OPTIONS) for text in (GOOD, large))
    assert isinstance(small, Accepted)
    assert isinstance(big, Accepted)
    assert small.config == big.config
    assert validation.validate(job, ConfigText(large), OPTIONS) is big
