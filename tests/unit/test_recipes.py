"""The recipes of docs/contributing/extending.md, each carried out on a copy of the tree.

A recipe touches the files that its page lists and no others, and what it adds works from end to end. Programs run in a
process of their own, in which the copy comes before the tree.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from textwrap import dedent
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "contributing" / "extending.md").read_text()
PACKAGES: Final = {
    "api": Path("crds/src/neuron_api"),
    "operator": Path("operator/src/neuron_operator"),
    "trainer": Path("trainer-image/src/neuron_trainer"),
}
LLAMA: Final = ROOT / "tests" / "data" / "configs" / "hf_llama3_8B_config.yaml"


class Copy:
    """A copy of the packages, and what was touched in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.touched: list[str] = []
        for package in PACKAGES.values():
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))

    def add(self, package: str, path: str, text: str) -> None:
        """Make a new file."""
        self.touched.append(path)
        file = self.folder / PACKAGES[package] / path
        file.parent.mkdir(exist_ok=True)
        file.write_text(dedent(text))

    def insert(self, package: str, path: str, text: str, *, before: str = "", after: str = "") -> None:
        """Put lines before or after the first match of an expression in a file."""
        self.touched.append(path)
        file = self.folder / PACKAGES[package] / path
        source = file.read_text()
        match = re.search(before or after, source, re.MULTILINE)
        assert match is not None, f"{path} has no {before or after}: the recipe is out of date"
        place = match.start() if before else match.end()
        file.write_text(source[:place] + text + source[place:])

    def run(self, program: str) -> str:
        """What a program prints that imports the copy."""
        sources = [str(self.folder / package.parent) for package in PACKAGES.values()]
        path = os.pathsep.join([*sources, str(ROOT / "tests" / "support")])
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        command = [sys.executable, "-c", dedent(program)]
        done = subprocess.run(command, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture
def copy(tmp_path: Path) -> Copy:
    return Copy(tmp_path)


def files_of(title: str) -> list[str]:
    """The numbered files of a recipe on the page."""
    section = re.search(rf"^## {re.escape(title)} ✓\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert section is not None, f"the page has no recipe {title}"
    return [path for step in steps(section[1]) for path in re.findall(r"`([\w/]+\.py)`", step)]


def steps(section: str) -> Iterator[str]:
    return (match[1] for match in re.finditer(r"^\d\. (.*(?:\n   .*)*)", section, re.MULTILINE))


@pytest.mark.slow
def test_a_code_and_its_rule(copy: Copy) -> None:
    row = '    ("2199", _E, "trainer.max_steps", "A toy", "Toys never have 7 steps.", "Use 8 steps."),\n'
    copy.insert("api", "findings/codes.py", row, before=r"^    # -+ 22xx")
    copy.insert(
        "api",
        "checks/trainer.py",
        '    ConfigRule(2199, _STEPS, Equals(_STEPS, 7), lambda _: "7 is for toys."),\n',
        before=r"^    ConfigRule\(2109, _STEPS",
    )
    output = copy.run(f"""
        from pathlib import Path
        from neuron_api.loading.loader import load_text
        from neuron_api.manifest.crd import to_yaml
        from neuron_api.reference import config, findings
        loaded = load_text(Path({str(LLAMA)!r}).read_text(), ["trainer.max_steps=7"])
        print([str(finding) for finding in loaded.findings if finding.code == "NTJ-2199"])
        print("Toys never have 7 steps. Use 8 steps. [NTJ-2199]" in to_yaml())
        print("ntj-2199" in findings.page(), "NTJ-2199" in config.page())
    """)
    assert output.splitlines() == [
        "['trainer.max_steps: 7 is for toys. Use 8 steps. [NTJ-2199]']",
        "True",
        "True True",
    ]
    assert set(copy.touched) <= set(files_of("A finding code, and the rule that raises it"))


@pytest.mark.slow
def test_a_key(copy: Copy) -> None:
    copy.insert(
        "api",
        "config/trainer.py",
        '    toy_scale: Number = Field(default=1.0, gt=0)\n    """How large toys are. Default 1.0."""\n\n',
        before=r"^    sync_batchnorm: ",
    )
    copy.insert(
        "api",
        "platform/environment.py",
        '    variables.append(Variable("TOY_SCALE", str(config.trainer.toy_scale)))\n',
        before=r"^    if config\.trainer\.lnc is not None:",
    )
    output = copy.run(f"""
        from pathlib import Path
        from neuron_api.loading.loader import load_text
        from neuron_api.manifest.crd import to_yaml
        from neuron_api.platform import environment
        from neuron_api.reference import config
        from neuron_api.schema import support
        text = Path({str(LLAMA)!r}).read_text()
        loaded = load_text(text, ["+trainer.toy_scale=3"])
        print([variable.value for variable in environment.derive(loaded.config) if variable.name == "TOY_SCALE"])
        print(support.check(loaded.config))
        wrong = load_text(text, ["+trainer.toy_scale=-3"])
        print([finding.code for finding in wrong.findings if finding.key == "trainer.toy_scale"])
        print("How large toys are." in to_yaml(), "trainer.toy_scale" in config.page())
    """)
    assert output.splitlines() == ["['3.0']", "()", "['NTJ-1403']", "True True"]
    assert set(copy.touched) <= set(files_of("A configuration key"))


@pytest.mark.slow
def test_a_reason(copy: Copy) -> None:
    member = '    TOY_BROKEN = "ToyBroken"\n    """A toy is broken. Glue it, then start a new job."""\n'
    copy.insert("api", "resource/reasons.py", member, before=r'^    CANNOT_RESUME = "')
    copy.insert(
        "api",
        "resource/reasons.py",
        "    Reason.TOY_BROKEN: Response(_USER, (Alert.JOB_FAILED,)),\n",
        after=r"^RESPONSES: .*\{\n",
    )
    output = copy.run("""
        from builders import NOW, OPTIONS, make_job
        from neuron_api.reference import reasons
        from neuron_api.resource.reasons import Reason
        from neuron_operator.planning.status import changes, conditions
        from neuron_operator.planning.status.conditions import End, Facts
        job = make_job().build()
        facts = Facts(generation=1, config=None, end=End(Reason.TOY_BROKEN, "The duck is broken."))
        after = job.status.model_copy(update={"conditions": conditions.conditions(facts, (), NOW)})
        print([(one.type.value, one.message) for one in after.conditions if one.reason == "ToyBroken"])
        print([one.reason for one in changes.announcements(job.status, after)])
        print("Glue it, then start a new job." in reasons.page())
    """)
    failed, event, page = output.splitlines()
    assert "('Failed', 'The duck is broken.')" in failed
    assert "ToyBroken" in event
    assert page == "True"
    assert set(copy.touched) <= set(files_of("A reason"))


TOY_SCHEDULER: Final = """
    'Toy: a scheduler that admits every gang.'

    from collections.abc import Mapping
    from dataclasses import dataclass
    from typing import Any, Final

    from neuron_api.resource.reasons import Reason
    from neuron_operator.planning.observation.observation import GroupKind, QueueKind

    from .adapter import Admission, GangRequest, GangState, Json, PodConventions

    _KIND: Final = GroupKind(("toys.example/v1",), "boxes", "Box")
    _PODS: Final = PodConventions(reserved_keys=("toys.example/",))


    @dataclass(frozen=True, slots=True)
    class Toy:
        title: str = "Toy"
        kind: GroupKind = _KIND
        queue: QueueKind | None = None
        pods: PodConventions = _PODS

        def mark(self, request: GangRequest) -> Json:
            return {"spec": {"schedulerName": "toy-scheduler"}}

        def group(self, request: GangRequest, pod: Mapping[str, Any]) -> Json | None:
            return {"toys": request.count}

        def admission(self, state: GangState) -> Admission:
            return Admission(True, Reason.ADMITTED, "The toys are in their box.")
"""


@pytest.mark.slow
def test_a_gang_scheduler(copy: Copy) -> None:
    copy.add("operator", "planning/scheduling/toy.py", TOY_SCHEDULER)
    copy.insert("operator", "planning/scheduling/registry.py", "from .toy import Toy\n", before=r"^from \.volcano")
    copy.insert(
        "operator",
        "planning/scheduling/registry.py",
        "    GangScheduler.TOY: Toy(),\n",
        before=r"^    GangScheduler\.VOLCANO",
    )
    copy.insert(
        "api", "resource/scheduling.py", '    TOY = "Toy"\n    """Boxes of toys."""\n', before=r'^    VOLCANO = "'
    )
    output = copy.run("""
        from builders import NOW, OPTIONS, accepted, make_job, observed
        from neuron_api.manifest.crd import to_yaml
        from neuron_operator.planning.objects import children, desired
        from neuron_operator.planning.observation.observation import SchedulerState
        job = make_job().nodes(2).spec(scheduling={"gang": "Toy"}).build()
        pod = desired.pod(job, accepted(job), 0, 1)
        (group,) = children.group_applies(observed(job, scheduler=SchedulerState(served=True)), 0, 2, lambda: pod)
        print(pod["spec"]["schedulerName"], group["apiVersion"], group["kind"], group["metadata"]["name"])
        print(group["spec"])
        print("Toy" in to_yaml())
    """)
    assert output.splitlines() == ["toy-scheduler toys.example/v1 Box tiny-0", "{'toys': 2}", "True"]
    assert set(copy.touched) <= set(files_of("A gang scheduler"))


@pytest.mark.slow
def test_an_optimizer(copy: Copy) -> None:
    spec = '        OptimizerSpec("asgd", ("lr_decay",), ("ax",), defaults={"weight_decay": 0.0}),\n'
    copy.insert("api", "config/optimizers.py", spec, before=r'^        OptimizerSpec\("adadelta"')
    output = copy.run(f"""
        from pathlib import Path
        from neuron_api.loading.loader import load_text
        from neuron_api.manifest.crd import to_yaml
        text = Path({str(LLAMA)!r}).read_text()
        alone = ["~model.optim.betas", "model.optim.name=asgd"]
        loaded = load_text(text, alone)
        print(loaded.config.model.optim.states, loaded.config.model.optim.weight_decay)
        wrong = load_text(text, [*alone, "+model.optim.nesterov=true"])
        print([finding.code for finding in wrong.findings if finding.key == "model.optim.nesterov"])
        print("asgd" in to_yaml())
    """)
    assert output.splitlines() == ["('ax',) 0.01", "['NTJ-2602']", "True"]
    assert set(copy.touched) <= set(files_of("An optimizer"))


@pytest.mark.slow
def test_a_model_family(copy: Copy) -> None:
    """A Llama under another name; the memory estimate knows it, too."""
    copy.add("trainer", "models/toy/__init__.py", '"""A toy."""\n')
    family = """
        from dataclasses import replace
        from typing import Final

        from neuron_trainer.models.llama import family as llama

        FAMILY: Final = replace(llama.FAMILY, kind="toy")
        """
    copy.add("trainer", "models/toy/family.py", family)
    copy.insert("trainer", "models/family.py", '"toy", ', after=r"^_FOLDERS: Final = \(")
    output = copy.run("""
        from neuron_api.config import ModelConfig
        from neuron_api.derive import architecture, parameters
        from neuron_trainer.models.family import Family
        values = {"model_type": "toy", "vocab_size": 64, "hidden_size": 32, "intermediate_size": 48,
                  "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2}
        toy, llama = (Family.without_run(values | {"model_type": kind}) for kind in ("toy", "llama"))
        print(toy.kind, toy.parameters == llama.parameters, toy.roles == llama.roles)
        print(len(toy.hf_tensors) == len(list(toy.on_meta().named_parameters())))
        sizes, findings = architecture.from_json(values, ModelConfig.model_construct())
        print(parameters.total(sizes) == toy.parameters, findings)
    """)
    assert output.splitlines() == ["toy True True", "True", "True ()"]
    assert [path for path in copy.touched if not path.startswith("models/toy/")] == ["models/family.py"]
    assert "models/family.py" in files_of("A model family")


@pytest.mark.slow
def test_a_parallel_backend(copy: Copy) -> None:
    """It trains, saves and resumes in tests/unit/trainer/test_backends.py."""
    toy = (ROOT / "tests" / "support" / "toy_backend.py").read_text()
    copy.add("trainer", "parallel/toy/__init__.py", toy)
    line = '    "toy": "neuron_trainer.parallel.toy",\n'
    copy.insert("trainer", "parallel/registry.py", line, before=r'^    "xla": ')
    output = copy.run(f"""
        from pathlib import Path
        from neuron_api.loading.loader import load_text
        from neuron_trainer import parallel
        text = Path({str(LLAMA)!r}).read_text()
        chosen = [load_text(text, [f"name='{{name}}'"]).config for name in ("a toy", "another")]
        print(parallel.backends(), [parallel.select(config, "cpu").__name__ for config in chosen])
        print([finding.message for finding in parallel.select(chosen[0], "cpu").check(chosen[0], "cpu")])
    """)
    assert output.splitlines() == [
        "('toy', 'xla', 'native') ['neuron_trainer.parallel.toy', 'neuron_trainer.parallel.native']",
        "['it has one process.']",
    ]
    assert [path for path in copy.touched if not path.startswith("parallel/toy/")] == ["parallel/registry.py"]
    assert "parallel/registry.py" in files_of("A parallel backend")
