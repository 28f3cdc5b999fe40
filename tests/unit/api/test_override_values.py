"""An override is told what the file would be told.

The kind: a value on the command line goes through the same readers as a value of the file, so a number that no key has,
a tag, a duplicate or a version without quotes has the file's code and the file's words, with the key's path. Looked at:
every kind of finding that reading one value can give, lists and mappings as values, keys of list items, `+key=value`.
"""

from pathlib import Path

import pytest

from neuron_api.findings.finding import Finding
from neuron_api.loading.loader import load_text

LLAMA = (Path(__file__).parents[2] / "data" / "configs" / "hf_llama3_8B_config.yaml").read_text()


def of_override(text: str) -> list[Finding]:
    key = text.lstrip("+").partition("=")[0]
    return [one for one in load_text(LLAMA, [text]).findings if one.key.startswith(key)]


def of_file(old: str, new: str, key: str) -> list[Finding]:
    assert old in LLAMA
    return [one for one in load_text(LLAMA.replace(old, new, 1)).findings if one.key.startswith(key)]


@pytest.mark.parametrize("value", ["1e30", ".nan", ".inf", "-.inf", "1180591620717411303424", "0x1ffffffffffffffff"])
def test_a_number_that_no_key_has_is_the_finding_of_the_file(value: str) -> None:
    (overridden,) = of_override(f"model.optim.lr={value}")
    (written,) = of_file("lr: 1.5e-4", f"lr: {value}", "model.optim.lr")
    assert overridden.code == written.code == "NTJ-1005"
    assert (overridden.message, overridden.remedy) == (written.message, written.remedy)


@pytest.mark.parametrize(
    ("override", "code", "key"),
    [
        ("model.optim.betas=[0.9,.inf]", "NTJ-1005", "model.optim.betas.1"),
        ("model.optim.betas.1=1e30", "NTJ-1005", "model.optim.betas.1"),
        ("+data.more={a: .nan}", "NTJ-1005", "data.more.a"),
        ("seed=!!python/object:os.system 1", "NTJ-1003", "seed"),
        ("trainer.max_time={hours: 1, hours: 2}", "NTJ-1004", "trainer.max_time.hours"),
        (f"name={'x' * 70_000}", "NTJ-1002", "name"),
        ("exp_manager.version=2.10", "NTJ-1402", "exp_manager.version"),
        ("exp_manager.name=007", "NTJ-1402", "exp_manager.name"),
        ("trainer.max_steps=[1, 2", "NTJ-1201", "trainer.max_steps"),
        ("trainer.max_steps=a: b: c", "NTJ-1201", "trainer.max_steps"),
    ],
)
def test_every_kind_of_value_has_the_files_code(override: str, code: str, key: str) -> None:
    findings = of_override(override)
    assert [(one.code, one.key) for one in findings] == [(code, key)]
    assert findings[0].line is None
    assert "Quote it for the shell" not in findings[0].remedy or code == "NTJ-1201"
