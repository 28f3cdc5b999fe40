"""The generated pages: current, whole, and without a link that leads nowhere."""

import re
from pathlib import Path

import pytest

from neuron_api.findings.registry import ENTRIES
from neuron_api.manifest import crd
from neuron_api.reference import config, fields, findings, reasons
from neuron_api.schema.key_path import all_paths

ROOT = Path(__file__).parents[3]
REFERENCE = ROOT / "docs" / "reference"
JOB = ROOT / "docs" / "spec" / "v1alpha1" / "neurontrainingjob.md"
PAGES = {"config": config.page, "findings": findings.page, "reasons": reasons.page}
PATHS = [path for path, _ in all_paths()]


def anchors(page: Path) -> list[str]:
    return re.findall(r'<a id="([^"]+)"></a>', page.read_text())


def section(page: str, title: str) -> str:
    """What stands between this heading and the next one."""
    text = (REFERENCE / f"{page}.md").read_text()
    return re.split(rf"^##+ {re.escape(title)}$", text, flags=re.MULTILINE)[1].split("\n<a ")[0].split("\n#")[0]


FORMER = re.compile(
    r"\b(rungs?|passedOver|nodesReady|podUid|devicesMeaning|ttlDeletes|CheckpointPassedOver)\b|`(lines|hold)`"
    r"|\b(gang: (none|kueue|volcano|coscheduling|workload)|accelerator: (cpu|neuron)|fromScratch: (never|always))\b"
)
ABOUT_FORMER_NAMES = {"upgrade.md", "track-record.md"}


def test_only_the_upgrade_notes_have_names_that_the_api_had_before() -> None:
    """Kind: prose by hand that a rename left behind. Looked at: docs, README, examples, and what the chart ships."""
    folders = (ROOT / name for name in ("docs", "examples", "helm", "operator/src"))
    pages = [
        page for folder in folders for kind in ("*.md", "*.yaml", "*.json", "*.txt") for page in folder.rglob(kind)
    ]
    found = [
        (str(page.relative_to(ROOT)), match[0])
        for page in (ROOT / "README.md", *pages)
        if page.name not in ABOUT_FORMER_NAMES
        for match in FORMER.finditer(page.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_what_the_models_say(name: str) -> None:
    assert (REFERENCE / f"{name}.md").read_text() == PAGES[name](), "run `make crds`"


def test_the_tables_of_the_resource_are_what_the_models_say() -> None:
    assert JOB.read_text() == fields.fill(JOB.read_text()), "run `make crds`"


@pytest.mark.slow
def test_every_key_has_an_anchor_and_a_heading_on_the_page() -> None:
    text = (REFERENCE / "config.md").read_text()
    assert sorted(anchors(REFERENCE / "config.md")) == sorted(["top-level", *(path.lower() for path in PATHS)])
    assert [path for path in PATHS if not re.search(rf"^##+ {re.escape(path)}$", text, re.MULTILINE)] == []


def test_every_code_has_an_anchor_and_a_heading_on_the_page() -> None:
    text = (REFERENCE / "findings.md").read_text()
    assert anchors(REFERENCE / "findings.md") == [code.lower() for code in ENTRIES]
    assert [code for code, entry in ENTRIES.items() if f"\n### {code}: {entry.title}\n" not in text] == []


@pytest.mark.slow
@pytest.mark.parametrize("page", [*(REFERENCE / f"{name}.md" for name in PAGES), REFERENCE / "README.md", JOB],
                         ids=lambda page: page.stem)  # fmt: skip
def test_no_link_leads_nowhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#]*)(?:#([^)]+))?\)", page.read_text())
    assert links or page.stem == "reasons"
    broken = [
        (target, anchor)
        for target, anchor in set(links)
        if not (page.parent / target).exists()
        or (anchor and anchor not in anchors(page.parent / target if target else page))
    ]
    assert broken == []


@pytest.mark.parametrize(
    ("key", "parts"),
    [
        ("trainer.devices", ["whole number, >= 1 · **required**", "Processes per node", "findings.md#ntj-2301"]),
        ("trainer.lnc", ["whole number or null, >= 1, <= 2 · default `null`", "NEURON_LOGICAL_NC_CONFIG"]),
        ("precision.type", ["one of mixed_precision, mixed_precisionSR"]),
        ("model.optim.betas", ["list of 2 numbers (>= 0, < 1) · default `[0.9, 0.999]`"]),
        ("trainer.enable_progress_bar", ["default `True`", "*This release*: it has no effect"]),
        ("data", ["mapping · **required**", "Keys of your own are kept"]),
        ("model.moe.top_k", ["findings.md#ntj-2701"]),
        ("model_alignment_strategy.dpo.kl_beta", ["number, > 0 · default `0.01`"]),
        ("model.max_position_embeddings", ["at least encoder_seq_length", "findings.md#ntj-2506"]),
        ("fusions.do_layer_norm_weight_decay", ["[model.do_layer_norm_weight_decay]"]),
    ],
)
def test_a_key_is_described_with_type_default_meaning_findings_and_what_is_done_of_it(
    key: str, parts: list[str]
) -> None:
    assert [part for part in parts if part not in section("config", key)] == []


def test_a_code_is_described_with_severity_keys_cause_and_remedy() -> None:
    for entry in ENTRIES.values():
        said = re.sub(r"\[([^]]+)\]\([^)]*\)", r"\1", section("findings", f"{entry.code}: {entry.title}"))
        about = ", ".join(entry.keys) or "any key"
        assert said.strip() == f"**{entry.severity}** · {about}\n\n{entry.cause}\n\nRemedy: {entry.remedy}"


def test_every_field_of_the_resource_is_in_its_tables() -> None:
    schema = crd.definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]
    wanted = {
        name
        for part in ("spec", "status")
        for name, field in schema[part]["properties"].items()
        if name not in ("config", "podTemplate")
        for name in (name, *field.get("properties", {}), *field.get("items", {}).get("properties", {}))
    }
    told = {
        part.rpartition(".")[2].removesuffix("[]") for part in re.findall(r"^\| `([^`]+)` \|", JOB.read_text(), re.M)
    }
    assert wanted - told == set()
