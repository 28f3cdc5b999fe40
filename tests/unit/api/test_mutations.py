"""One mistake at a time in every real file: findings, never an exception, never silence; what still loads can be
planned."""

import csv
import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

import document
import mutations
from mutations import Mistake
from neuron_api import checks
from neuron_api.config import TrainingConfig
from neuron_api.derive import architecture, hardware
from neuron_api.derive.architecture import Architecture
from neuron_api.derive.plan import derive
from neuron_api.findings.finding import Finding, Severity
from neuron_api.findings.registry import ENTRIES
from neuron_api.loading import yaml_text
from neuron_api.loading.loader import Loaded, line_of, load_text
from neuron_api.resource.accelerator import Accelerator
from neuron_api.schema import support
from neuron_api.schema.aliases import CANONICAL
from neuron_api.schema.key_path import field_of, fields, section_of

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
FILES = {path.stem: path.read_text() for path in sorted(CONFIGS.glob("*.yaml"))}
TEXTS = {**FILES, "the document, hf": document.hf_job(), "the document, megatron": document.megatron_job()}
MODELS = {
    row["config"]: json.loads((CONFIGS / "models" / f"{row['model_config']}.json").read_text())
    for row in csv.DictReader((CONFIGS / "models.tsv").read_text().splitlines(), delimiter="\t")
    if row["model_config"] != "-"
}
LLAMA = json.loads((CONFIGS / "models" / "llama2-7B.json").read_text())
ABSENT = object()

every_text = pytest.mark.parametrize("name", TEXTS)


def test_there_are_thousands_of_mistakes() -> None:
    made = 0
    for text in TEXTS.values():
        made += sum(1 for _ in mutations.dropped(text)) + sum(1 for _ in mutations.repeated(text))
        made += sum(1 for _ in mutations.renamed(text)) + sum(1 for _ in mutations.retyped(text, "null"))
    assert made > 14_000 // mutations.STRIDE


# ---- drop ---------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_text
def test_a_dropped_key_is_its_default_or_an_error(name: str) -> None:
    wrong: list[Any] = []
    for mistake in mutations.dropped(TEXTS[name]):
        loaded = load_text(mistake.text)
        wrong += unsound(name, mistake, loaded)
        info = field_of(mistake.place.path)
        if info is not None and info.is_required() and not loaded.errors:
            wrong.append((mistake.place.path, "it is required, and nothing was said"))
    assert wrong == []


# ---- retype -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("value", [value for value in mutations.RETYPES if value != "null"])
@every_text
def test_a_value_of_another_type_keeps_its_meaning_or_is_an_error(name: str, value: str) -> None:
    wrong: list[Any] = []
    for mistake in mutations.retyped(TEXTS[name], value):
        loaded = load_text(mistake.text)
        wrong += unsound(name, mistake, loaded)
        path = mistake.place.path
        if any(is_about(path, finding) for finding in loaded.errors):
            continue
        if not loaded.resolved:
            wrong.append((path, value, "it does not load, and nothing is said about the key"))
        elif not is_kept(path, yaml.safe_load(value), loaded.resolved):
            wrong.append((path, value, value_at(loaded.resolved, path)))
    assert wrong == []


@pytest.mark.slow
@every_text
def test_null_is_the_same_as_no_key_where_it_has_no_meaning_of_its_own(name: str) -> None:
    without = {mistake.place.path: mistake for mistake in mutations.dropped(TEXTS[name])}
    wrong: list[Any] = []
    for mistake in mutations.retyped(TEXTS[name], "null"):
        path, loaded = mistake.place.path, load_text(mistake.text)
        wrong += unsound(name, mistake, loaded)
        if mistake.place.is_item or len(mistake.place.siblings) == 1:
            continue  # without its only key a mapping is null, too
        if value_at(loaded.resolved, path) is not None and loaded.hash != load_text(without[path].text).hash:
            wrong.append(path)
    assert wrong == []


# ---- rename -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_text
def test_a_misspelled_key_is_an_error_with_its_line(name: str) -> None:
    wrong: list[Any] = []
    for mistake in mutations.renamed(TEXTS[name]):
        loaded = load_text(mistake.text)
        wrong += unsound(name, mistake, loaded)
        parent, _, right = mistake.place.path.rpartition(".")
        known, new = keys_of(parent), f"{parent}.{mistake.what}".lstrip(".")
        if mistake.what in known:
            continue  # `betas` for `etas`: another key of the document
        told = [finding for finding in loaded.findings if finding.key == new and finding.line == mistake.place.line]
        codes = {finding.code for finding in told}
        if not (codes == {"NTJ-1301"} if right in known else codes & {"NTJ-1301", "NTJ-1302", "NTJ-1303"}):
            wrong.append((mistake.place.path, mistake.what, codes))
    assert wrong == []


# ---- repeat -------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@every_text
def test_a_repeated_key_is_an_error_with_both_lines(name: str) -> None:
    wrong: list[Any] = []
    for mistake in mutations.repeated(TEXTS[name]):
        loaded = load_text(mistake.text)
        wrong += unsound(name, mistake, loaded)
        told = [finding for finding in loaded.errors if finding.code == "NTJ-1004"]
        lines = re.compile(rf"in lines {mistake.place.line} and {mistake.what}\b")
        expected = [(mistake.place.path, int(mistake.what), True)]
        if [(finding.key, finding.line, bool(lines.search(finding.message))) for finding in told] != expected:
            wrong.append((mistake.place.path, mistake.what, list(map(str, told))))
    assert wrong == []


# ---- what always holds --------------------------------------------------------------------------------------------


def unsound(name: str, mistake: Mistake, loaded: Loaded) -> Iterator[tuple[Any, ...]]:
    """Findings without code, key or line; a configuration that does not load without an error; one without a plan."""
    place = mistake.place
    for finding in loaded.findings:
        if finding.code not in ENTRIES or not finding.key or not finding.message:
            yield place.path, mistake.what, str(finding)
        elif finding.line is None and line_of(yaml_text.parse(mistake.text).lines, finding.key):
            yield place.path, mistake.what, "no line", str(finding)
    if not loaded.resolved and not loaded.errors:
        yield place.path, mistake.what, "it does not load, and there is no error"
    if loaded.config is not None:
        yield from unplanned(name, mistake, loaded.config, loaded.findings)


def unplanned(
    name: str, mistake: Mistake, config: TrainingConfig, told: Iterable[Finding]
) -> Iterator[tuple[Any, ...]]:
    """With and without the model's sizes, whatever else is wrong."""
    machines = hardware.from_config(config, Accelerator.NEURON, None)
    sizes, _ = sizes_of(name, config)
    further = [*support.check(config, told), *(checks.check_model(config, sizes) if sizes else ())]
    for model in (None, sizes) if sizes else (None,):
        plan = derive(config, machines, model)
        json.dumps(plan.columns)
        further += plan.findings
    yield from ((mistake.place.path, mistake.what, str(one)) for one in further if one.code not in ENTRIES)


def sizes_of(name: str, config: TrainingConfig) -> tuple[Architecture | None, Any]:
    if config.model_source == "megatron":
        return architecture.from_megatron(config, 32000), ()
    return architecture.from_json(MODELS.get(name, LLAMA), config.model)


# ---- helpers ------------------------------------------------------------------------------------------------------


def keys_of(section: str) -> set[str]:
    """Names that the document has there."""
    if not section:
        return set(fields(TrainingConfig))
    info = field_of(section)
    model = section_of(info) if info is not None else None
    return set(fields(model)) if model is not None else set()


def is_about(path: str, finding: Finding) -> bool:
    """The key, a key below it, or the mapping that it is in."""
    return f"{finding.key}.".startswith(f"{path}.") or f"{path}.".startswith(f"{finding.key}.")


def value_at(tree: Any, path: str) -> Any:
    for part in CANONICAL.get(path, path).split("."):
        if isinstance(tree, list):
            tree = tree[int(part)] if part.isdigit() and int(part) < len(tree) else ABSENT
        else:
            tree = tree.get(part, ABSENT) if isinstance(tree, dict) else ABSENT
    return tree


def is_kept(path: str, given: Any, resolved: dict[str, Any]) -> bool:
    """Whether the effective value is what was written, as far as the key's type has a form for it."""
    value = value_at(resolved, path)
    match given:
        case bool():
            return value is given or (path.endswith(".kv_replicator") and value == 1)
        case int() | float():
            return type(value) is not bool and value in (given, float(given), str(given))
        case list():
            return isinstance(value, list) and len(value) == len(given) and all(map(is_same, given, value))
        case dict():
            return isinstance(value, dict) and all(value.get(key) == one for key, one in given.items())
    return bool(value == given)


def is_same(given: Any, value: Any) -> bool:
    """Of an item: a text may be written as a number."""
    return bool(value == (str(given) if isinstance(value, str) else given))


def test_warnings_are_not_taken_for_errors() -> None:
    """The tests above ask for errors: what they call an error stops a job."""
    assert ENTRIES["NTJ-1301"].severity is ENTRIES["NTJ-1004"].severity is Severity.ERROR
