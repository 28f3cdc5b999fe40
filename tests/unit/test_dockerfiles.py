"""The images by their Dockerfiles: nobody is root, nothing makes a process more than it is, nothing secret stays.

What the kubelet enforces is the pods' part (`unit/chart/test_chart.py`, `unit/operator/test_restricted_pods.py`).
"""

import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
FILES: Final = {
    "operator": (ROOT / "Dockerfile", ("",)),
    "trainer": (ROOT / "trainer-image" / "Dockerfile", ("torchneuron", "nxd", "cpu")),
}
"""And the names of the stages that are images; the last stage of the operator has none."""
SETUID: Final = "find / -xdev -type f -perm /6000 -exec chmod a-s {} +"
SECRET: Final = re.compile(r"token|secret|passw|credential|api_?key", re.IGNORECASE)


def instructions(path: Path) -> list[tuple[str, str]]:
    """Name and arguments, with continued lines joined and comments left out."""
    text = "\n".join(line for line in path.read_text().splitlines() if not line.lstrip().startswith("#"))
    lines = text.replace("\\\n", " ").splitlines()
    return [
        (name.upper(), " ".join(rest.split()))
        for line in lines
        if line.strip()
        for name, _, rest in [line.strip().partition(" ")]
    ]


def stages(path: Path) -> dict[str, list[tuple[str, str]]]:
    found: dict[str, list[tuple[str, str]]] = {}
    name = None
    for instruction, rest in instructions(path):
        if instruction == "FROM":
            name = rest.partition(" AS ")[2]
            found[name] = []
        elif name is not None:
            found[name].append((instruction, rest))
    return found


def images() -> list[tuple[str, str]]:
    return [(file, stage) for file, (_, names) in FILES.items() for stage in names]


@pytest.mark.parametrize(("file", "stage"), images())
def test_the_image_runs_as_a_user_by_number_who_is_not_root(file: str, stage: str) -> None:
    """By number: the kubelet cannot tell that a name is not root (runAsNonRoot)."""
    found = stages(FILES[file][0])[stage]
    users = [rest for name, rest in found if name == "USER"]
    assert users == ["65532:65532"]
    after = found[found.index(("USER", users[0])) + 1 :]
    assert [name for name, _ in after] == ["ENTRYPOINT"], "nothing is done by, or beside, another user"


@pytest.mark.parametrize(("file", "stage"), images())
def test_nothing_in_the_image_raises_rights(file: str, stage: str) -> None:
    found = stages(FILES[file][0])[stage]
    assert any(name == "RUN" and SETUID in rest for name, rest in found)
    assert not any(
        word in rest for _, rest in found for word in ("sudo", "chmod 777", "chmod u+s", "setcap", "chmod -R")
    )


@pytest.mark.parametrize(("file", "stage"), images())
def test_the_program_is_started_without_a_shell(file: str, stage: str) -> None:
    (entry,) = (rest for name, rest in stages(FILES[file][0])[stage] if name == "ENTRYPOINT")
    assert entry.startswith('["neuron-')
    assert not any(
        name in ("CMD", "SHELL", "EXPOSE", "VOLUME", "HEALTHCHECK") for name, _ in instructions(FILES[file][0])
    )


@pytest.mark.parametrize("file", FILES)
def test_no_secret_is_an_argument_a_variable_or_a_file_of_the_image(file: str) -> None:
    for name, rest in instructions(FILES[file][0]):
        if name in ("ARG", "ENV", "LABEL", "COPY", "ADD"):
            assert not SECRET.search(rest), rest
        if name == "RUN" and "/run/secrets/" in rest:
            assert "--mount=type=secret" in rest, "a secret is mounted for one command"
            assert "cp /run/secrets" not in rest


@pytest.mark.parametrize("file", FILES)
def test_no_cache_of_a_package_manager_stays(file: str) -> None:
    for name, rest in instructions(FILES[file][0]):
        if name == "RUN" and re.search(r"\b(pip|uv pip) install\b|locked_install", rest):
            assert "--mount=type=cache" in rest or "--no-cache" in rest, rest
        assert "apt-get" not in rest or "rm -rf /var/lib/apt/lists" in rest


@pytest.mark.parametrize("file", FILES)
def test_nothing_is_fetched_that_is_not_locked(file: str) -> None:
    """What only the Neuron index has is the exception: it has no hashes to lock (trainer-image/README.md)."""
    for found in stages(FILES[file][0]).values():
        for name, rest in found:
            assert name != "ADD", "COPY takes nothing from a network"
            assert not re.search(r"\b(curl|wget|git clone)\b", rest)
            if name == "RUN" and "install" in rest:
                locked = ("--require-hashes", "--offline", "locked_install.py")
                assert any(word in rest for word in locked), rest


def test_the_image_of_an_sdk_whose_support_has_ended_says_when() -> None:
    (label,) = (rest for name, rest in stages(FILES["trainer"][0])["nxd"] if name == "LABEL")
    date = re.search(r'end-of-support="(\d{4}-\d\d-\d\d)"', label)
    assert date is not None
    assert date[1] in (ROOT / "docs" / "tasks" / "run-on-trn1.md").read_text()
    assert date[1] in (ROOT / "docs" / "reference" / "upstream-facts.md").read_text()


def test_the_context_leaves_out_what_no_image_needs() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert "*" in ignored or {".git", ".venv"} <= set(ignored)
