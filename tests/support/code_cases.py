"""The table tests/unit/api/codes.yaml: how each code comes about, and who says it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from key_cases import CONFIGS, text_with
from neuron_api import contract
from neuron_api.loading.loader import load_text
from neuron_api.schema import effects, support
from neuron_operator.cli.__main__ import main

TABLE: Final = Path(__file__).parents[1] / "unit" / "api" / "codes.yaml"
Told = list[tuple[str, str]]
"""Code and key of each finding."""


@dataclass(frozen=True)
class Cause:
    """One row."""

    code: str
    row: dict[str, Any]

    def told(self, folder: Path, capsys: pytest.CaptureFixture[str], *, before: bool = False) -> Told:
        """What is said of it; `before`: of the same without the cause."""
        text = self._text(before)
        if "plan" in self.row or "job" in self.row:
            return self._planned(text, folder, capsys)
        loaded = load_text(text, () if before else self.row.get("overrides", ()))
        findings = loaded.findings
        if "support" in self.row:
            assert loaded.config is not None
            findings = support.check(loaded.config)
        if "effects" in self.row:
            assert loaded.config is not None
            findings = effects.check(loaded.config, self.row["effects"])
        return [(finding.code, finding.key) for finding in findings]

    def _text(self, before: bool) -> str:
        if "text" in self.row:
            return str(self.row["text"])
        base = self.row.get("base", "hf_llama3_8B_config")
        if "replace" in self.row:
            old, new = self.row["replace"]
            text = (CONFIGS / f"{base}.yaml").read_text()
            assert old in text
            return text.replace(old, new, 1)
        return text_with(base, self.row.get("before", {}), {} if before else self.row.get("set", {}))

    def _planned(self, text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> Told:
        if "job" in self.row:
            spec = {"config": yaml.safe_load(text), **self.row["job"]}
            job = {"apiVersion": contract.API_VERSION, "kind": contract.KIND, "metadata": {"name": "job"}, "spec": spec}
            text = yaml.safe_dump(job, sort_keys=False)
        (folder / "file.yaml").write_text(text)
        arguments = [str(CONFIGS / one) if one.startswith("models/") else one for one in self.row.get("plan", ())]
        main(["plan", "-o", "json", "-f", str(folder / "file.yaml"), *arguments])
        return [(one["code"], one["key"]) for one in json.loads(capsys.readouterr().out)["findings"]]


def causes() -> list[Cause]:
    """Every row."""
    return [Cause(code, row) for code, row in yaml.safe_load(TABLE.read_text()).items()]
