"""YAML from strangers: scalar rules, duplicates with both lines, bounds."""

import pytest

from neuron_api.loading.limits import MAX_BYTES
from neuron_api.loading.yaml_text import parse


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("3e-4", 3e-4),
        ("1e-06", 1e-6),
        ("1_000.5", 1000.5),
        ("1.0", 1.0),
        ("-1", -1),
        ("2024-01-01", "2024-01-01"),
        ("'0'", "0"),
        ("yes", True),
        ("null", None),
        ("1.8.6", "1.8.6"),
        ("trn1.32xlarge", "trn1.32xlarge"),
    ],
)
def test_scalars_are_read_as_omegaconf_reads_them(text: str, value: object) -> None:
    read = parse(f"v: {text}").value["v"]
    assert read == value
    assert type(read) is type(value)


@pytest.mark.parametrize("text", [".inf", "-.inf", ".nan"])
def test_a_number_that_no_key_has_is_refused(text: str) -> None:
    assert [finding.code for finding in parse(f"v: {text}").findings] == ["NTJ-1005"]


def test_a_duplicate_key_names_both_lines() -> None:
    document = parse("optim:\n  name: adamw\n  lr: 1\n  name: Cosine\n")
    (finding,) = document.findings
    assert (finding.key, finding.line, finding.code) == ("optim.name", 4, "NTJ-1004")
    assert "in lines 2 and 4" in finding.message
    assert "Keep one of them" in finding.remedy
    assert document.value["optim"]["name"] == "adamw"


def test_every_key_has_its_line() -> None:
    assert parse("a: 1\nb:\n  c:\n  - d: 2\n").lines == {"a": 1, "b": 2, "b.c": 3, "b.c.0.d": 4}


ALIAS_BOMB = "a0: &a0 [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"a{i}: &a{i} [{','.join([f'*a{i - 1}'] * 9)}]\n" for i in range(1, 9)
)


@pytest.mark.parametrize(
    "hostile",
    [
        "a: &a [*a]",
        "x: " + "[" * 10_000,
        "x: " + "{a: " * 5_000,
        "a: " + "b" * (MAX_BYTES + 1),
        ALIAS_BOMB,
        "a: \x00",
        "!!python/object/apply:os.system [true]",
        "a: !!python/object/apply:os.system [true]",
    ],
    ids=[
        "cycle",
        "nested lists",
        "nested maps",
        "1 MB and a byte",
        "alias bomb",
        "control character",
        "tag",
        "tag inside",
    ],
)
def test_a_hostile_document_is_refused(hostile: str) -> None:
    """What that may cost: test_hostile_documents.py."""
    assert [finding.severity for finding in parse(hostile).findings] == ["error"]


@pytest.mark.parametrize("text", ["a: !!binary eA==", "!!python/name:os.system a: 1", "a: !!timestamp 2020-01-01"])
def test_a_tag_is_refused_on_keys_and_values(text: str) -> None:
    assert [finding.code for finding in parse(text).findings] == ["NTJ-1003"]


@pytest.mark.parametrize("word", ["=", "<<"])
def test_what_yaml_1_1_takes_for_an_operator_is_a_word_as_a_value(word: str) -> None:
    assert parse(f"a: {word}\nb: !!str 5").value == {"a": word, "b": "5"}
