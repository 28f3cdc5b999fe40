"""`convert` says what `plan` says, and writes no job that would be rejected; paths are moved and missing ones reported.

The kind: three programs look at one configuration (plan of the file, convert, plan of the job), and none may be silent
where another refuses. Looked at: every real file with its model, unsupported sections, values and schedules, names,
`--force`, several files, rewritten lists, mappings and interpolations, paths on claims, on volumes of the pod template
and on none, names on the Hub, addresses.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from neuron_operator.cli.__main__ import main

CONFIGS = Path(__file__).parents[3] / "tests/data/configs"
FILES = sorted(CONFIGS.glob("*.yaml"))
LLAMA = CONFIGS / "hf_llama3_8B_config.yaml"
DPO = CONFIGS / "hf_llama3_8B_DPO_config.yaml"
AROUND = ("NTJ-1006", "NTJ-3016", "NTJ-3008")
"""Codes that only a job, or only a file, can have; in a job null is the word None where it means something."""


def convert(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, Any, str]:
    code = main(["convert", *arguments])
    said = capsys.readouterr()
    return code, yaml.safe_load(said.out), said.err


def codes(capsys: pytest.CaptureFixture[str], file: Path) -> tuple[int, list[str]]:
    code = main(["plan", "-o", "json", "-f", str(file)])
    found = json.loads(capsys.readouterr().out)["findings"]
    return code, sorted(one["code"] for one in found if one["code"] and one["code"] not in AROUND)


@pytest.mark.slow
@pytest.mark.parametrize("file", FILES, ids=lambda path: path.stem)
def test_file_conversion_and_job_have_the_same_findings(
    file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, own = codes(capsys, file)
    converted, _, said = convert(capsys, "-f", str(file), "--mount-path", "/shared")
    of_conversion = [one.rpartition("[")[2].rstrip("]") for one in said.splitlines() if one.endswith("]")]
    assert sorted(one for one in of_conversion if one not in AROUND) == own
    main(["convert", "-f", str(file), "--mount-path", "/shared", "--force"])
    job = tmp_path / "job.yaml"
    job.write_text(capsys.readouterr().out)
    refused, of_job = codes(capsys, job)
    assert of_job == own
    assert converted == code or (converted, refused) == (2, 2)


def test_what_this_release_does_not_support_is_not_written(capsys: pytest.CaptureFixture[str]) -> None:
    code, manifest, said = convert(capsys, "-f", str(LLAMA), "exp_manager.exp_dir=/training", *UNSUPPORTED)
    assert (code, manifest) == (2, None)
    assert "NTJ-4001" in said
    assert "--force writes it" in said
    code, manifest, said = convert(capsys, "-f", str(LLAMA), "exp_manager.exp_dir=/training", *UNSUPPORTED, "--force")
    assert code == 0
    assert manifest["kind"] == "NeuronTrainingJob"
    assert "NTJ-4001" in said


UNSUPPORTED = ("+exp_manager.ema={enable: true}",)


def test_no_remedy_trains_something_else(capsys: pytest.CaptureFixture[str]) -> None:
    """`Remove the key` would be another training; its remedy says so."""
    from neuron_api.loading.loader import load_text
    from neuron_api.schema import support
    from neuron_api.schema.key_path import all_paths, section_of

    for path, info in all_paths():
        if support.level_of(path) is not support.SupportLevel.REFUSED or section_of(info):
            continue
        loaded = load_text(DPO.read_text(), [f"+{path}=true"])
        for one in support.check(loaded.config) if loaded.config else ():
            assert "Remove the key" not in one.remedy
            assert "will be rejected" in one.message or one.code == "NTJ-4003"


def test_a_name_that_is_made_is_reported_and_a_wrong_one_refused(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ("-f", str(LLAMA), "exp_manager.exp_dir=/training")
    code, manifest, said = convert(capsys, *arguments, "name=7B-llama")
    assert (code, manifest["metadata"]["name"]) == (0, "job-7b-llama")
    assert "metadata.name: job-7b-llama, since '7B-llama' cannot be the name of a job." in said
    code, manifest, said = convert(capsys, *arguments, "--name", "7b")
    assert (code, manifest) == (2, None)
    assert "For example job-7b." in said
    assert "metadata.name" not in convert(capsys, *arguments, "name=llama")[2]


# ---- paths --------------------------------------------------------------------------------------------------------


def test_paths_are_moved_wherever_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "c.yaml"
    file.write_text((CONFIGS / "megatron_llama_7B_config.yaml").read_text())
    change = "data.data_prefix=[0.3,/home/ubuntu/a,0.7,/home/ubuntu/b/c]"
    arguments = (
        "-f",
        str(file),
        change,
        "exp_manager.exp_dir=/home/ubuntu/runs",
        "data.tokenizer.type=/home/ubuntu-old/t",
    )
    _, manifest, said = convert(
        capsys, *arguments, "--mount-path", "/fsx", "--rewrite", "/home/ubuntu=/fsx", "--force",
        "--rewrite", "/home/ubuntu-old=/fsx/x",
    )  # fmt: skip
    config = manifest["spec"]["config"]
    assert config["data"]["data_prefix"] == [0.3, "/fsx/a", 0.7, "/fsx/b/c"]
    assert config["exp_manager"]["exp_dir"] == "/fsx/runs"
    assert config["data"]["tokenizer"]["type"] == "/fsx/x/t"
    assert "exp_manager.exp_dir: rewritten to /fsx/runs." in said
    assert "NTJ-3016" not in said


def test_a_rewrite_of_nothing_and_of_no_path_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    code, manifest, said = convert(capsys, "-f", str(LLAMA), "--rewrite", "/nowhere=/fsx")
    assert (code, manifest) == (2, None)
    assert "no value of the file begins with /nowhere" in said
    with pytest.raises(SystemExit, match="2"):
        main(["convert", "-f", str(LLAMA), "--rewrite", "home=/fsx"])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "key"),
    [
        ("data.train_dir=/home/ubuntu/train", "data.train_dir"),
        ("model.model_config=/home/ubuntu/config.json", "model.model_config"),
        ("+exp_manager.resume_from_checkpoint=/home/ubuntu/step.ckpt", "exp_manager.resume_from_checkpoint"),
        ("+data.tokenizer={type: /home/ubuntu/tokenizer}", "data.tokenizer.type"),
        ("+exp_manager.files_to_copy=[/home/ubuntu/notes]", "exp_manager.files_to_copy"),
    ],
)
def test_a_path_on_no_volume_is_a_warning_of_its_key(change: str, key: str, capsys: pytest.CaptureFixture[str]) -> None:
    on_claim = (
        "data.train_dir=/training/d",
        "model.model_config=/training/config.json",
        "exp_manager.exp_dir=/training",
    )
    said = convert(capsys, "-f", str(LLAMA), *on_claim, "--force")[2]
    assert "NTJ-3016" not in said
    said = convert(capsys, "-f", str(LLAMA), *on_claim, change, "--force")[2]
    [line] = [one for one in said.splitlines() if "NTJ-3016" in one]
    assert line.startswith(f"warning: {key}")
    assert "/home/ubuntu" in line
    assert "--rewrite" in line


def test_addresses_and_names_on_the_hub_are_on_no_volume_either_way(capsys: pytest.CaptureFixture[str]) -> None:
    said = convert(
        capsys, "-f", str(LLAMA), "model.model_config=relative/config.json", "exp_manager.exp_dir=/training",
        "data.train_dir=${oc.env:TRAIN}", "+data.tokenizer={type: meta-llama/Llama-3}",
        "+exp_manager.resume_from_checkpoint=s3://bucket/step.ckpt",
    )[2]  # fmt: skip
    assert "NTJ-3016" not in said


def test_a_volume_of_the_pod_template_holds_a_path(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, manifest, _ = convert(capsys, "-f", str(LLAMA), "exp_manager.exp_dir=/training", "data.train_dir=/data/train",
                             "model.model_config=/training/config.json")  # fmt: skip
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(manifest))
    main(["plan", "-f", str(job)])
    assert "NTJ-3016" in capsys.readouterr().out
    mount = {"name": "trainer", "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}]}
    volume = {"name": "data", "hostPath": {"path": "/data"}}
    manifest["spec"]["podTemplate"] = {"spec": {"containers": [mount], "volumes": [volume]}}
    job.write_text(yaml.safe_dump(manifest))
    main(["plan", "-f", str(job)])
    assert "NTJ-3016" not in capsys.readouterr().out


LARGE = CONFIGS / "hf_llama3_70B_config.yaml"


def names_of(text: str) -> list[str]:
    return [one["metadata"]["name"] for one in yaml.safe_load_all(text)]


@pytest.mark.slow
def test_files_of_one_name_become_jobs_named_after_their_files(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two jobs of one name would overwrite each other: of two files, of a folder, of one file twice, with --name."""
    for name, source in (("llama-8B.yaml", LLAMA), ("llama-70B.yaml", LARGE)):
        (tmp_path / name).write_text(source.read_text())
    files = ["-f", str(tmp_path / "llama-8B.yaml"), "-f", str(tmp_path / "llama-70B.yaml")]
    for given, names in ((files, ["llama-8b", "llama-70b"]), (["-f", str(tmp_path)], ["llama-70b", "llama-8b"])):
        assert main(["convert", *given, "exp_manager.exp_dir=/training", "--force"]) == 0
        out, err = capsys.readouterr()
        assert names_of(out) == names
        assert err.count("as the file, since several files are named 'hf_llama'") == 2
    assert main(["convert", *files[:2], *files[:2], "--force"]) == 2
    assert "several files would be jobs of one name" in capsys.readouterr().err
    assert main(["convert", *files, "--name", "mine"]) == 2
    assert "--name is for one file, and there are 2" in capsys.readouterr().err


def test_files_of_different_names_are_several_documents(capsys: pytest.CaptureFixture[str]) -> None:
    other = str(CONFIGS / "megatron_llama_7B_config.yaml")
    main(["convert", "-f", str(LLAMA), "-f", other, "exp_manager.exp_dir=/training", "--force"])
    out, err = capsys.readouterr()
    assert len(set(names_of(out))) == 2
    assert "as the file" not in err


def test_an_assumed_claim_and_mount_path_are_reported(capsys: pytest.CaptureFixture[str]) -> None:
    said = convert(capsys, "-f", str(LLAMA), "--force")[2]
    assert "the claim training is assumed. Give another one with --claim." in said
    assert "the mount path /training is assumed. Give another one with --mount-path." in said
    said = convert(capsys, "-f", str(LLAMA), "--force", "--claim", "fsx", "--mount-path", "/fsx")[2]
    assert not [line for line in said.splitlines() if "spec.storage" in line and "assumed" in line]


@pytest.mark.parametrize(
    ("flag", "value", "words"),
    [
        ("--mount-path", "fsx", "spec.storage.0.mountPath: must be an absolute path, such as /training, got 'fsx'."),
        ("--claim", "FSX_x", "spec.storage.0.claimName: must be the name of an object: lower-case letters, digits"),
    ],
)
def test_a_wrong_claim_or_mount_path_is_reported_in_the_words_of_plan(
    flag: str, value: str, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, manifest, said = convert(capsys, "-f", str(LLAMA), flag, value)
    assert (code, manifest) == (2, None)
    assert words in said
    assert "pattern" not in said


def test_a_path_on_no_volume_names_the_mounts_and_in_convert_the_flag(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = ("data.train_dir=/data/sets/train", "exp_manager.exp_dir=/fsx", "model.model_config=/fsx/config.json")
    _, manifest, said = convert(capsys, "-f", str(LLAMA), *changes, "--mount-path", "/fsx", "--force")
    assert "Change it to a path below /fsx, or mount a volume that holds it" in said
    assert "--rewrite /data/sets=/fsx." in said
    job = tmp_path / "job.yaml"
    job.write_text(yaml.safe_dump(manifest))
    main(["plan", "-f", str(job), "-o", "json"])
    out = capsys.readouterr().out
    assert "Change it to a path below /fsx, or mount a volume that holds it" in out
    assert "--rewrite" not in out
