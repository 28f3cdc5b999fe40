"""Fenced blocks of the pages, and how the commands in them are tested.

A block without a language, or of `sh`, is commands. A comment in the line before says where they run: without one, on a
laptop without Kubernetes (tests/unit/trainer/test_task_pages.py); `<!-- run: cluster -->`, where a cluster is;
`<!-- not run: REASON -->`, nowhere, for a reason of `REASONS`.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
LANGUAGES: Final = ("", "sh", "text", "console", "yaml", "json", "python")
COMMANDS: Final = ("", "sh")

REASONS: Final = {
    "a browser": r"\bdashboard\b",
    "a configuration of your own": r"\bsubmit \w+\.yaml\b",
    "a container engine": r"\b(?:docker|kind)\b|make (?:images|demo)|^FROM ",
    "a package index": r"\bpip\b",
    "a registry": r"\boci://|\bmake release-push\b",
    "a release of your own": r"\bhelm (?:install|upgrade|uninstall)\b",
    "a Trainium device": r"--accelerator (neuron|xla)\b",
    "Argo CD": r"\bargocd\b",
    "AWS": r"\b(?:aws|eksctl|eks)\b|\$(?:AWS_REGION|CLUSTER|REGISTRY|NEURON_CHART)\b",
    "an operator that runs": r"\blogs -l .* \| grep\b|\bget lease\b",
    "files of a release": r"\bSHA256SUMS\b|\bkrew install\b",
    "files of your own": r"--input [a-z]\.txt\b|\bcheckpoint convert /fsx/",
    "hours of tests": r"^make test\b",
    "pods that train": r"\b(?:logs|exec|wait)\b|--watch\b",
    "root and the local cluster": r"^make (?:demo|cluster-down)\b",
    "the name of a pod": r"\bPOD\b",
    "the Prometheus operator": r"\bmetrics\.serviceMonitor\.enabled=true\b",
}
"""What a test has not, and what in a block shows that it needs that."""

BLOCK: Final = re.compile(
    r"(?:^<!-- (?P<mark>(?:not )?run: [^\n]*?) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^(?P=indent)```$",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    line: int
    language: str
    mark: str
    text: str

    def __str__(self) -> str:
        """As tests are named."""
        return f"{self.page}:{self.line}"

    @property
    def is_commands(self) -> bool:
        """Whether somebody would type it."""
        return self.language in COMMANDS

    def commands(self) -> list[str]:
        """Lines of commands, continued ones joined, without comments behind them."""
        lines = self.text.replace("\\\n", " ").splitlines()
        return [line for line in (re.sub(r"(^|\s+)# .*$", "", one).strip() for one in lines) if line]


def pages() -> list[Path]:
    """Every page that tells somebody what to type."""
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")]
    folders = ("docs", "examples", "hack", "helm", "operator", "trainer-image", "requirements")
    return named + [path for folder in folders for path in sorted((ROOT / folder).rglob("*.md"))]


def blocks(path: Path) -> Iterator[Block]:
    """Yield the blocks of a page in their order."""
    text = path.read_text()
    for match in BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        name = path.relative_to(ROOT).as_posix()
        yield Block(name, line, match["language"], match["mark"] or "", match["text"])


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [block for path in pages() for block in blocks(path)]
