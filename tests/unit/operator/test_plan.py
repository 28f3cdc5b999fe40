"""`kubectl neuron plan`: the oracle's row for every real file; jobs among other documents; errors with their lines."""

import csv
import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from neuron_operator.cli.__main__ import main

ROOT = Path(__file__).parents[3]
CONFIGS = ROOT / "tests/data/configs"
ROWS = list(csv.DictReader((CONFIGS / "expected.tsv").read_text().splitlines(), delimiter="\t"))
MODELS = dict(line.split("\t") for line in (CONFIGS / "models.tsv").read_text().splitlines())
INSTANCES = {"trn1": "trn1.32xlarge", "trn2": "trn2.48xlarge"}


def plan(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any]:
    """Exit code and the parsed output of `-o json`."""
    code = main(["plan", "-o", "json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def arguments_of(name: str) -> list[str]:
    model = [] if MODELS[name] == "-" else ["--model-config", str(CONFIGS / "models" / f"{MODELS[name]}.json")]
    return ["-f", str(CONFIGS / f"{name}.yaml"), *model]


def in_the_form_of_the_oracle(value: Any) -> str:
    if value is None:
        return "-"
    return str(value).lower() if isinstance(value, bool) else str(value)


# ---- the oracle --------------------------------------------------------------------------------------------------


def test_there_is_a_row_for_every_file() -> None:
    assert {row["config"] for row in ROWS} == {path.stem for path in CONFIGS.glob("*.yaml")}


@pytest.mark.slow
@pytest.mark.parametrize("given", [False, True], ids=["assumed", "given"])
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["config"])
def test_every_column_is_that_of_the_oracle(
    row: dict[str, str], given: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    instance = ["--instance-type", INSTANCES[row["hardware"]]] if given else []
    code, found = plan(capsys, *arguments_of(row["config"]), *instance)
    unsupported = [one for one in found["findings"] if one["code"] in ("NTJ-4001", "NTJ-4002")]
    assert code == (2 if unsupported else 0), found["findings"]
    assert list(found)[: len(row)] == list(row)
    assert {name: in_the_form_of_the_oracle(found[name]) for name in row} == row
    assert found["instance_type"] == INSTANCES[row["hardware"]]
    assert found["neuron_devices_per_node"] == 16
    assert found["efa_per_node"] == {"trn1": 8, "trn2": 16}[row["hardware"]]


LARGER: Final = "hf_llama3_70B_trn2_config"
"""Its split is neuronx-distributed's; `native` keeps the gathered inputs of all micro-batches in a pipeline."""


@pytest.mark.slow
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row["config"])
def test_the_memory_of_a_real_configuration_fits_its_hardware_or_a_finding_says_so(
    row: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    vocabulary = ["--model-config", str(CONFIGS / "models/llama2-7B.json")] if MODELS[row["config"]] == "-" else []
    _, found = plan(capsys, *arguments_of(row["config"]), *vocabulary)
    memory = found["memory"]
    assert memory["available"] == {"trn1": 16, "trn2": 24}[row["hardware"]] * 2**30
    is_larger = memory["total"] > memory["available"]
    assert is_larger is (row["config"] == LARGER)
    assert is_larger is ("NTJ-3007" in [one["code"] for one in found["findings"]])
    assert memory["total"] > memory["weights"] + memory["masters"] + memory["optimizer_state"]
    assert found["checkpoint_bytes"] > 1e9


# ---- fine-tuning --------------------------------------------------------------------------------------------------

LORA, DPO = "hf_llama3_8B_SFT_lora_config", "hf_llama3_8B_DPO_config"
NO_REFERENCE = "model_alignment_strategy.dpo.precompute_ref_log_probs=false"


def table(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, str]:
    """Rows by label."""
    main(["plan", *arguments])
    return {line[2:20].strip(): line[20:] for line in capsys.readouterr().out.splitlines() if line[20:]}


def test_with_lora_a_hundredth_is_trained_and_frozen_weights_cost_their_compute_dtype(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """qkv_proj of 32 layers, rank 16: 16 x (4096 + 4096 + 2 x 1024) each; 8.03 billion stay as they are."""
    base = (*arguments_of(LORA), "model_alignment_strategy.peft.save_lora_base=false")
    _, lora = plan(capsys, *base)
    _, full = plan(capsys, *arguments_of(LORA), "~model_alignment_strategy.peft")
    trained = 32 * 16 * (4096 + 4096 + 2 * 1024)
    assert (lora["parameters"], lora["trained_parameters"]) == (8_030_261_248, trained)
    assert full["trained_parameters"] == full["parameters"] == lora["parameters"]
    memory = lora["memory"]
    assert memory["frozen"] == full["memory"]["weights"]
    assert memory["frozen"] < memory["weights"] < 1.02 * memory["frozen"], "A is whole on each of 32 processes"
    assert memory["optimizer_state"] < full["memory"]["optimizer_state"] / 50
    assert lora["checkpoint_bytes"] == trained * 14 < full["checkpoint_bytes"] / 100
    assert " and adapters; 5,242,880 trained (0.0652 %)" in table(capsys, *base)["parameters"]


def test_dpo_has_pairs_and_a_reference(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "pairs.jsonl").write_text("{}\n\n{}\n{}\n")
    file = f"data.train_dir={tmp_path / 'pairs.jsonl'}"
    _, found = plan(capsys, *arguments_of(DPO))
    assert found["reference"] == {"from": "precomputed", "samples": None}
    assert plan(capsys, *arguments_of(DPO), file)[1]["reference"]["samples"] == 3
    assert plan(capsys, *arguments_of(DPO), file, "data.dev_choose_samples=2")[1]["reference"]["samples"] == 2
    rows = table(capsys, *arguments_of(DPO), file)
    assert rows["step"].startswith("4 pairs of 2 rows = data 1")
    assert rows["reference"].startswith("one pass over 3 samples of data.train_dir before step 1")


def test_a_reference_in_each_step_is_a_second_model_and_with_lora_the_model_itself(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def memory(*more: str) -> tuple[str, dict[str, int]]:
        _, found = plan(capsys, *arguments_of(DPO), *more)
        return found["reference"]["from"], found["memory"]

    peft = "+model_alignment_strategy.peft={}"
    assert memory()[1]["reference"] == 0
    kind, second = memory(NO_REFERENCE)
    assert (kind, second["reference"]) == ("second model", second["weights"])
    assert second["total"] == memory()[1]["total"] + second["reference"]
    kind, off = memory(NO_REFERENCE, peft)
    assert (kind, off["reference"]) == ("without adapters", 0)


def test_other_methods_have_no_reference(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = plan(capsys, *arguments_of(LORA))
    assert found["reference"] is None
    assert "reference" not in table(capsys, *arguments_of(LORA))


# ---- what cannot be known ----------------------------------------------------------------------------------------


def test_without_the_model_config_the_rest_is_still_worked_out(capsys: pytest.CaptureFixture[str]) -> None:
    row = next(row for row in ROWS if row["config"] == "hf_llama3_70B_trn2_config")
    _code, found = plan(capsys, "-f", str(CONFIGS / f"{row['config']}.yaml"))
    unknown = {name for name in row if in_the_form_of_the_oracle(found[name]) != row[name]}
    assert unknown == {"kv_heads", "kv_heads_source"}
    assert found["kv_heads"] is found["memory"] is found["checkpoint_bytes"] is None
    [said] = [one for one in found["findings"] if one["key"] == "model.model_config"]
    assert (said["severity"], said["line"]) == ("note", 65)
    assert "/home/ubuntu/config.json is not on this machine" in said["message"]
    assert "--model-config" in said["remedy"]


def test_without_a_vocabulary_memory_is_null_and_a_note_says_how_to_get_it(capsys: pytest.CaptureFixture[str]) -> None:
    _, found = plan(capsys, *arguments_of("megatron_llama_7B_config"))
    assert found["memory"] is found["parameters"] is None
    assert any("vocab_size" in one["remedy"] for one in found["findings"] if one["severity"] == "note")


def test_a_model_config_that_is_on_this_machine_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for path in (CONFIGS / "models/llama3-8B.json", tmp_path):
        (tmp_path / "config.json").write_text((CONFIGS / "models/llama3-8B.json").read_text())
        file = str(CONFIGS / "hf_llama3_8B_config.yaml")
        _, found = plan(capsys, "-f", file, f"model.model_config={path}")
        assert (found["kv_heads"], found["kv_heads_source"]) == (8, "llama3 config.json")


# ---- errors ------------------------------------------------------------------------------------------------------


def test_errors_end_with_exit_code_2_and_name_code_key_line_and_remedy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "wrong.yaml"
    file.write_text((CONFIGS / "hf_llama3_8B_config.yaml").read_text().replace("max_steps: 10000", "max_stepz: 10000"))
    code, found = plan(capsys, "-f", str(file))
    assert code == 2
    line = file.read_text().splitlines().index(next(s for s in file.read_text().splitlines() if "max_stepz" in s)) + 1
    one = next(one for one in found["findings"] if one["key"] == "trainer.max_stepz")
    assert (one["severity"], one["line"]) == ("error", line)
    assert one["code"].startswith("NTJ-")
    assert "max_steps" in one["message"] + one["remedy"]
    assert main(["plan", "-f", str(file)]) == 2
    table = capsys.readouterr().out
    assert f"trainer.max_stepz line {line} {one['code']}" in table


def test_an_instance_type_that_cannot_hold_the_processes_is_an_error(capsys: pytest.CaptureFixture[str]) -> None:
    code, found = plan(capsys, *arguments_of("hf_llama3_8B_trn2_config"), "--instance-type", "trn1.32xlarge")
    assert code == 2
    assert found["neuron_devices_per_node"] is None
    assert {one["key"] for one in found["findings"] if one["severity"] == "error"} == {"trainer.lnc"}


def test_devices_of_a_node_that_are_not_published_are_given_as_flags(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = (*arguments_of("hf_llama3_8B_trn2_config"), "--instance-type", "trn2.24xlarge")
    code, found = plan(capsys, *arguments)
    assert code == 2
    keys = {one["key"] for one in found["findings"] if one["severity"] == "error"}
    assert "spec.platform.neuronDevices" in keys
    code, found = plan(capsys, *arguments, "--neuron-devices", "16", "--efa-interfaces", "0")
    assert (code, found["neuron_devices_per_node"]) == (0, 16)


@pytest.mark.parametrize("number", ["0", "-1", "many", "257", "1.5"])
def test_a_number_of_devices_has_the_bounds_of_the_api(number: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["plan", *arguments_of("hf_llama3_8B_trn2_config"), "--neuron-devices", number])
    assert f"{number!r} is no number from 1 to 256" in capsys.readouterr().err


def test_a_model_that_does_not_fit_the_device_is_warned_of(capsys: pytest.CaptureFixture[str]) -> None:
    small = ("trainer.num_nodes=1", "distributed_strategy.tensor_model_parallel_size=8", "model.num_layers=80")
    _, found = plan(capsys, *arguments_of("hf_llama3_8B_config"), *small)
    assert found["memory"]["total"] > found["memory"]["available"]
    [said] = [one for one in found["findings"] if one["key"] == "distributed_strategy"]
    assert said["severity"] == "warning"


@pytest.mark.parametrize(
    "text", ["", "- a\n", "a: [", "\x00", "kind: Pod\napiVersion: v1\n", "a: !!python/name:os 1\n"]
)
def test_what_is_no_configuration_is_refused_without_a_traceback(
    text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "file.yaml"
    file.write_text(text)
    code = main(["plan", "-f", str(file)])
    said = capsys.readouterr()
    assert code in (1, 2)
    assert said.out + said.err
    assert "Traceback" not in said.err


def test_a_file_that_is_not_there_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", "-f", "/no/such.yaml"]) == 2
    assert capsys.readouterr().err == "kubectl neuron: /no/such.yaml: No such file or directory\n"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["num_attention_heads", "num_key_value_heads", "head_dim", "vocab_size"])
@pytest.mark.parametrize("value", [None, 0, -1, "8", [], {}, True, 2.5])
def test_a_model_config_with_wrong_values_is_no_traceback(
    name: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    values = json.loads((CONFIGS / "models/llama3-8B.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, name: value}))
    file = str(CONFIGS / "hf_llama3_8B_config.yaml")
    given = ("--model-config", str(tmp_path / "config.json"), "~distributed_strategy.kv_replicator")
    code, found = plan(capsys, "-f", file, *given)
    assert code == (2 if name in ("num_attention_heads", "vocab_size") else 0)
    assert any(name in one["message"] for one in found["findings"]) == bool(code)


# ---- jobs --------------------------------------------------------------------------------------------------------


def test_a_job_is_found_among_other_documents_and_its_model_in_a_mounted_config_map(
    capsys: pytest.CaptureFixture[str],
) -> None:
    code, found = plan(capsys, "-f", str(ROOT / "examples/quickstart.yaml"))
    assert code == 0
    assert (found["config"], found["world"], found["dp"], found["hardware"]) == ("quickstart", 4, 2, "cpu")
    assert (found["kv_heads"], found["parameters"]) == (2, 893_568)
    assert (found["neuron_devices_per_node"], found["efa_per_node"], found["instance_type"]) == (0, 0, None)


def job_with_config_map(tmp_path: Path, change: str = "") -> Path:
    old, _, new = change.partition("|")
    text = (CONFIGS / "hf_llama3_8B_config.yaml").read_text().replace(old, new)
    block = "".join(f"    {line}\n" if line.strip() else "\n" for line in text.splitlines())
    file = tmp_path / "job.yaml"
    file.write_text(
        "# a comment\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: files}\ndata:\n  config.yaml: |\n"
        f"{block}---\napiVersion: neurontraining.dev/v1alpha1\nkind: NeuronTrainingJob\nmetadata: {{name: llama}}\n"
        "spec:\n  platform: {instanceType: trn1.32xlarge}\n  storage: [{claimName: c, mountPath: /training}]\n"
        "  configFrom: {configMapKeyRef: {name: files, key: config.yaml}}\n"
    )
    return file


def test_a_job_whose_configuration_is_in_a_config_map_of_the_same_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bare = plan(capsys, *arguments_of("hf_llama3_8B_config"))[1]
    paths = ("compiler_cache_url=/training/cache", "exp_manager.exp_dir=/training")
    code, found = plan(
        capsys, "-f", str(job_with_config_map(tmp_path)), *arguments_of("hf_llama3_8B_config")[2:], *paths
    )
    assert code == 0, found["findings"]
    assert found["config"] == "llama"
    assert {name: found[name] for name in ROWS[0] if name != "config"} == {
        name: bare[name] for name in ROWS[0] if name != "config"
    }


def test_lines_of_a_config_map_are_those_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = job_with_config_map(tmp_path, "num_nodes: 4|num_nodez: 4")
    code, found = plan(capsys, "-f", str(file))
    assert code == 2
    line = next(one["line"] for one in found["findings"] if one["key"] == "trainer.num_nodez")
    assert "num_nodez" in file.read_text().splitlines()[line - 1]


def test_lines_of_an_object_are_those_of_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "job.yaml"
    file.write_text((ROOT / "examples/quickstart.yaml").read_text().replace("max_steps:", "max_stepz:"))
    code, found = plan(capsys, "-f", str(file))
    line = next(one["line"] for one in found["findings"] if one["key"] == "trainer.max_stepz")
    assert code == 2
    assert "max_stepz" in file.read_text().splitlines()[line - 1]


def test_what_the_operator_says_about_a_job_is_said_here(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = job_with_config_map(tmp_path)
    file.write_text(file.read_text().replace("  storage: [{claimName: c, mountPath: /training}]\n", ""))
    code, found = plan(capsys, "-f", str(file))
    assert code == 2
    assert "spec.storage" in {one["key"] for one in found["findings"]}


def test_several_jobs_of_a_file_are_a_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = (ROOT / "examples/quickstart.yaml").read_text()
    file = tmp_path / "two.yaml"
    file.write_text(f"{text}\n---\n{text.replace('name: quickstart', 'name: again')}")
    found = plan(capsys, "-f", str(file))[1]
    assert [one["config"] for one in found] == ["quickstart", "again"]


@pytest.mark.parametrize(
    ("key", "value", "code"),
    [
        ("vocab_size", 128259, "NTJ-2323"),
        ("num_attention_heads", 48, "NTJ-2311"),
        ("intermediate_size", 14337, "NTJ-2312"),
        ("num_key_value_heads", 24, "NTJ-2313"),
    ],
)
def test_sizes_that_every_pod_would_refuse_are_found_before_there_is_one(
    key: str, value: int, code: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """F42: with TP 32 the rules of the trainer's preflight (`checks.check_model`), where config.json is known."""
    values = json.loads((CONFIGS / "models/llama3-8B.json").read_text()) | {"head_dim": 128, key: value}
    (tmp_path / "config.json").write_text(json.dumps(values))
    arguments = ("-f", str(CONFIGS / "hf_llama3_8B_config.yaml"), "--instance-type", "trn1.32xlarge")
    clean, _ = plan(capsys, *arguments, "--model-config", str(CONFIGS / "models/llama3-8B.json"))
    status, found = plan(capsys, *arguments, "--model-config", str(tmp_path))
    assert (clean, status) == (0, 2)
    assert code in {one["code"] for one in found["findings"] if one["severity"] == "error"}


# ---- output ------------------------------------------------------------------------------------------------------


def test_several_configurations_are_a_list_in_yaml_as_in_json(capsys: pytest.CaptureFixture[str]) -> None:
    files = ["-f", str(CONFIGS / "hf_llama3_8B_config.yaml"), "-f", str(CONFIGS / "megatron_llama_7B_config.yaml")]
    texts = []
    for output in ("yaml", "json"):
        main(["plan", *files, "-o", output])
        texts.append(yaml.safe_load(capsys.readouterr().out))
    assert texts[0] == texts[1]
    assert len(texts[0]) == 2


def test_yaml_says_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = arguments_of("hf_llama3_8B_config")
    found = plan(capsys, *arguments)[1]
    main(["plan", "-o", "yaml", *arguments])
    assert yaml.safe_load(capsys.readouterr().out) == found


@pytest.mark.parametrize(("instance", "compiler"), [("trn2.48xlarge", "neuron"), ("trn1.32xlarge", None)])
def test_a_lazy_device_has_no_compiler_of_torch(
    instance: str, compiler: str | None, capsys: pytest.CaptureFixture[str]
) -> None:
    of_instance = ["--instance-type", instance, "model.compile=auto"]
    assert plan(capsys, *arguments_of("hf_llama3_8B_config"), *of_instance)[1]["compiler"] == compiler


@pytest.mark.slow
def test_nothing_slow_is_imported() -> None:
    """Start-up time is measured by `make bench-plan`; this is what would cost it most."""
    program = (
        "import sys; from neuron_operator.cli.__main__ import main; "
        f"main(['plan', '-f', {str(ROOT / 'examples/quickstart.yaml')!r}]); "
        "slow = {'kopf', 'kubernetes', 'aiohttp', 'torch', 'lightning', 'asyncio'}; "
        "models = {f'neuron_api.resource.{name}' for name in ('status', 'overview')}; "
        "found = (slow | models) & set(sys.modules); "
        "sys.exit(', '.join(found) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
