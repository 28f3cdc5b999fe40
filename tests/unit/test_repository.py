"""What must hold for the repository as a whole: nothing of one machine in it, modules that fit the head, true pages."""

import ipaddress
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_api.resource.job import parse
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.options import Options
from neuron_operator.planning.validation import validation

ROOT = Path(__file__).parents[2]
MOST_LINES = 400
LONG_BY_NATURE = (".lock", ".sum", ".mod", ".svg")
"""Written by programs; names and numbers in them are nobody's address."""


@cache
def tracked() -> tuple[str, ...]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip("not a git checkout", allow_module_level=True)
    return tuple(name for name in done.stdout.split("\0") if name and (ROOT / name).is_file())


def lines(*, but: tuple[str, ...] = ()) -> Iterator[tuple[str, str]]:
    """`file:line` and text of every tracked line that people wrote."""
    for name in tracked():
        if name.endswith(LONG_BY_NATURE) or name.startswith(but) or name == "tests/unit/test_repository.py":
            continue
        text = (ROOT / name).read_text(errors="replace")
        yield from ((f"{name}:{number}", line) for number, line in enumerate(text.splitlines(), start=1))


# ---- nothing of one machine -------------------------------------------------------------------------------------

IN_IMAGES = re.compile(r"target=/root/\.cache/")
"""Caches of a build, in the image's file system."""
HOMES = re.compile(r"(?<![\w.$}])/(root|work)/|(?<![\w.$}])/home/(?!ubuntu\b)|/Users/")
"""/home/ubuntu is in the published NxDT examples that the tests read."""


@pytest.mark.slow
def test_no_path_of_a_machine() -> None:
    found = [f"{where}: {line.strip()}" for where, line in lines() if HOMES.search(IN_IMAGES.sub("", line))]
    assert found == []


def test_no_link_leads_out_of_the_repository() -> None:
    """Kind: a link to a folder of one machine, which `.gitignore` takes for a file."""
    listed = subprocess.run(["git", "ls-files", "--stage"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    links = [ROOT / line.split("\t")[1] for line in listed.splitlines() if line.startswith("120000")]
    assert [link for link in links if not (link.parent / link.readlink()).resolve().is_relative_to(ROOT)] == []
    assert [link for link in links if not link.exists()] == []


ADDRESS = re.compile(r"(?<![\w.-])(\d{1,3}(?:\.\d{1,3}){3})(?![\w.-])")
PRIVATE_ALLOWED_IN = ("hack/", "tests/")
"""The local cluster has a network of its own."""


@pytest.mark.slow
def test_no_address_of_a_machine() -> None:
    found = []
    for where, line in lines():
        for text in ADDRESS.findall(line):
            try:
                address = ipaddress.ip_address(text)
            except ValueError:
                continue
            if address.is_loopback or address.is_unspecified:
                continue
            if not (address.is_private and where.startswith(PRIVATE_ALLOWED_IN)):
                found.append(f"{where}: {text}")
    assert found == []


INDEXES = re.compile(r"https?://[^\s\"'<>]+/simple\b|(extra-)?index-url\s*=|\b\d{12}\.dkr\.ecr\.", re.IGNORECASE)


@pytest.mark.slow
def test_no_package_index_and_no_registry_of_an_account() -> None:
    assert [f"{where}: {line.strip()}" for where, line in lines() if INDEXES.search(line)] == []


def test_locks_name_no_index() -> None:
    locks = [name for name in tracked() if name.endswith(".lock")]
    assert locks
    assert [name for name in locks if re.search(r"^\s*--|https?://", options_of(name), re.MULTILINE)] == []


def options_of(name: str) -> str:
    return "\n".join(line for line in (ROOT / name).read_text().splitlines() if "--hash=" not in line)


# ---- code that can be read ---------------------------------------------------------------------------------------


def test_no_module_is_longer_than_one_can_keep_in_mind() -> None:
    lengths = {name: len((ROOT / name).read_text().splitlines()) for name in tracked() if name.endswith(".py")}
    assert {name: length for name, length in lengths.items() if length > MOST_LINES} == {}


def test_every_module_says_what_it_is() -> None:
    bare = [
        name
        for name in tracked()
        if name.endswith(".py") and (text := (ROOT / name).read_text().lstrip()) and not opens_with_docstring(text)
    ]
    assert bare == []


def opens_with_docstring(text: str) -> bool:
    body = re.sub(r"\A(#[^\n]*\n)+", "", text).lstrip()
    return body.startswith('"""')


def scripts() -> list[str]:
    return [name for name in tracked() if re.fullmatch(r"hack/[^/]+", name) and not name.endswith((".md", ".py"))]


def test_every_script_in_hack_can_be_run_and_says_how() -> None:
    assert scripts()
    for name in scripts():
        head = "\n".join((ROOT / name).read_text().splitlines()[:6])
        assert head.startswith("#!"), f"{name} has no interpreter line"
        assert (ROOT / name).stat().st_mode & 0o111, f"{name} is not executable"
        assert re.search(r"Usage: hack/|--help", head), f"{name} says nothing of its usage in its first lines"


# ---- tests that a busy machine passes ---------------------------------------------------------------------------

CALLS = r"join|wait|acquire|result|asyncio\.timeout|wait_for"
WAIT = re.compile(rf"(?:\b(?:timeout|bound)=|\b(?:{CALLS})\((?:[^()]*, )?)(\d+(?:\.\d+)?)[,)]")
VIRTUAL = "watch.wait("
"""Moves the clock of tests/unit/operator/test_server_clock.py."""
ON_A_CLUSTER = ("tests/e2e/", "tests/queues/")
"""Not part of `make test`."""


@pytest.mark.slow
def test_no_test_gives_up_before_a_busy_machine_is_done() -> None:
    """A wait is bounded by `tests/support/bounds.py`, or by minutes; one of less than a second is there to end."""
    short = [
        f"{where}: {line.strip()}"
        for where, line in lines(but=ON_A_CLUSTER)
        if re.match(r"tests/.*\.py:", where) and VIRTUAL not in line
        for seconds in WAIT.findall(line)
        if 1 < float(seconds) < 300
    ]
    assert short == []


@pytest.mark.slow
def test_no_test_sleeps() -> None:
    """Two looks of a wait are less than a second apart, and so is what a slow network adds."""
    sleep = re.compile(r"\b(?:time|asyncio)\.sleep\([1-9]")
    assert [where for where, line in lines() if re.match(r"tests/.*\.py:", where) and sleep.search(line)] == []


# ---- pages that are true -----------------------------------------------------------------------------------------


def pages() -> list[str]:
    return [name for name in tracked() if name.endswith(".md") and not name.startswith("tests/")]


def make_targets() -> set[str]:
    return set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", pages())
def test_commands_of_a_page_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    blocks = "\n".join(re.findall(r"```.*?```", text, re.DOTALL))
    said = re.findall(r"`make ([a-z][a-z-]*)", text) + re.findall(r"^\s*make ([a-z][a-z-]*)", blocks, re.MULTILINE)
    assert set(said) <= make_targets()
    programs = set(re.findall(r"\bhack/([a-z][a-z-]*)(?![\w./-])", text))
    assert programs <= {path.name for path in (ROOT / "hack").iterdir()}


@pytest.mark.parametrize("page", pages())
def test_links_of_a_page_lead_somewhere(page: str) -> None:
    text = re.sub(r"```.*?```", "", (ROOT / page).read_text(), flags=re.DOTALL)
    links = re.findall(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"", text)
    local = [link for pair in links for link in pair if link and not link.startswith(("http", "#", "mailto:"))]
    base = (ROOT / page).parent
    assert [link for link in local if not (base / link.split("#")[0]).exists()] == []


def test_the_makefile_describes_every_command() -> None:
    bare = re.findall(r"^([a-z][a-z-]*):(?!.*##).*$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert bare == []


# ---- jobs that run -----------------------------------------------------------------------------------------------

EXCERPTS = ("README.md",)
"""Pages that show a part of an example; see below."""


def yaml_blocks(page: str) -> list[str]:
    return re.findall(r"```yaml\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)


def jobs() -> list[Any]:
    found = []
    for name in tracked():
        if name.startswith("examples/") and name.endswith(".yaml"):
            texts = [(ROOT / name).read_text()]
        elif name in pages() and name not in EXCERPTS:
            texts = yaml_blocks(name)
        else:
            continue
        for text in texts:
            documents = [document for document in yaml.safe_load_all(text) if document]
            found += [pytest.param(each, id=name) for each in documents if each.get("kind") == "NeuronTrainingJob"]
    return found


@pytest.mark.parametrize("body", jobs())
def test_jobs_of_examples_and_pages_are_accepted_without_a_warning(body: dict[str, Any]) -> None:
    metadata = {"namespace": "default", "uid": "1f5b", **body["metadata"]}
    job = parse({**body, "metadata": metadata})
    options = Options(images={"cpu": "trainer:cpu", "torchneuron": "trainer:torchneuron"})
    gate = validation.validate(job, ConfigText(validation.config_text(job)), options)
    assert isinstance(gate, validation.Accepted), gate.message
    assert gate.warnings == ()


def test_the_readme_shows_the_quickstart_as_it_is() -> None:
    (shown,) = [block for block in yaml_blocks("README.md") if "kind: NeuronTrainingJob" in block]
    excerpt = yaml.safe_load(re.sub(r"^\s+\.\.\.$", "", shown, flags=re.MULTILINE))
    documents = yaml.safe_load_all((ROOT / "examples" / "quickstart.yaml").read_text())
    job = next(document for document in documents if document["kind"] == "NeuronTrainingJob")
    assert is_part(excerpt, job)


def is_part(part: Any, whole: Any) -> bool:
    if isinstance(part, dict):
        return isinstance(whole, dict) and all(key in whole and is_part(part[key], whole[key]) for key in part)
    return bool(part == whole)
