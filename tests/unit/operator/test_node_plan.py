"""spec.elasticPolicy: which numbers of nodes are legal, and which policies are refused."""

import json
from pathlib import Path

import pytest
import yaml

from builders import OPTIONS, JobBuilder, make_job
from neuron_operator.cli.__main__ import main
from neuron_operator.planning.observation.observation import ConfigText
from neuron_operator.planning.validation import validation
from neuron_operator.planning.validation.validation import Accepted, Refused


def elastic(own: int = 4, **policy: object) -> JobBuilder:
    """Of 4 nodes with 2 processes each, tensor parallel 2, global batch 24: data parallel is the number of nodes."""
    return make_job().nodes(own).spec(elasticPolicy={"minNodes": 2} | policy)


def answer(job: JobBuilder) -> Accepted | Refused:
    built = job.build()
    return validation.validate(built, ConfigText(validation.config_text(built)), OPTIONS)


def legal(job: JobBuilder) -> tuple[int, ...]:
    accepted = answer(job)
    assert isinstance(accepted, Accepted), accepted
    return accepted.node_plan.legal


def refusal(job: JobBuilder) -> str:
    refused = answer(job)
    assert isinstance(refused, Refused)
    return refused.message


@pytest.mark.parametrize(
    ("batch", "policy", "expected"),
    [
        (24, {}, (2, 3, 4)),
        (24, {"minNodes": 1, "maxNodes": 16}, (1, 2, 3, 4, 6, 8, 12)),
        (16, {"minNodes": 1}, (1, 2, 4)),
        (24, {"minNodes": 3, "maxNodes": 5}, (3, 4)),
    ],
)
def test_a_number_is_legal_where_the_global_batch_divides(
    batch: int, policy: dict[str, int], expected: tuple[int, ...]
) -> None:
    assert legal(elastic(**policy).config("data.global_batch_size", batch)) == expected


def test_without_a_policy_only_the_configurations_own_number_is_legal() -> None:
    assert legal(make_job().nodes(4)) == (4,)


def test_other_parallel_sizes_must_divide_the_processes() -> None:
    job = elastic(minNodes=1).config("distributed_strategy.tensor_model_parallel_size", 4)
    assert legal(job.config("data.global_batch_size", 24)) == (2, 4)


def test_a_number_that_fails_another_check_is_not_legal() -> None:
    """Experts are spread over data-parallel processes: these must be a multiple of 2."""
    job = elastic(minNodes=1).config("distributed_strategy.expert_model_parallel_size", 2)
    job = job.config("model.moe", {"num_experts": 4, "top_k": 1})
    assert legal(job) == (2, 4)


REFUSED: list[tuple[str, JobBuilder, tuple[str, ...]]] = [
    (
        "one legal number",
        elastic(minNodes=3).config("data.global_batch_size", 16),
        ("spec.elasticPolicy: of 3 to 4 nodes only 4 is legal", "Widen minNodes"),
    ),
    (
        "own number outside",
        elastic(maxNodes=3),
        ("trainer.num_nodes (4) is not between minNodes (2) and maxNodes (3)",),
    ),
    ("nodes is not legal", elastic(maxNodes=8, nodes=5), ("spec.elasticPolicy.nodes: 5 is not legal", "2, 3, 4, 6, 8")),
    ("cannot resume", elastic().cannot_resume(), ("exp_manager.resume_if_exists is False", "Set it to True")),
    (
        "no checkpoints",
        elastic().config("exp_manager.create_checkpoint_callback", False),
        ("exp_manager writes no checkpoints",),
    ),
    (
        "a batch that follows the number of nodes",
        elastic().config("data.global_batch_size", "${multiply:${trainer.num_nodes},6}"),
        ("only 4 is legal", "With 2 nodes another key changes, which follows trainer.num_nodes by interpolation"),
    ),
]


@pytest.mark.parametrize(("job", "words"), [case[1:] for case in REFUSED], ids=[case[0] for case in REFUSED])
def test_a_policy_that_could_do_nothing_is_refused_in_one_sentence(job: JobBuilder, words: tuple[str, ...]) -> None:
    message = refusal(job)
    assert all(word in message for word in words), message
    assert message.count("spec.elasticPolicy") == 1


# ---- kubectl neuron plan ---------------------------------------------------------------------------------------------


def planned(tmp_path: Path, capsys: pytest.CaptureFixture[str], job: JobBuilder, *flags: str) -> tuple[int, str]:
    file = tmp_path / "job.yaml"
    file.write_text(yaml.safe_dump(job.body))
    code = main(["plan", "-f", str(file), *flags])
    return code, capsys.readouterr().out


def test_plan_lists_the_legal_numbers_with_their_shapes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, text = planned(tmp_path, capsys, elastic())
    assert code == 0
    (line,) = [line for line in text.splitlines() if line.startswith("  legal nodes")]
    assert line.split(maxsplit=2)[2] == "2 (data 2 x 12); 3 (data 3 x 8); 4 (data 4 x 6)"


def test_plan_as_data_has_them_too_and_says_what_the_operator_would_refuse(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = planned(tmp_path, capsys, elastic(maxNodes=8, nodes=5), "-o", "json")
    found = json.loads(text)
    assert (code, found["legal_nodes"]) == (2, [2, 3, 4, 6, 8])
    (fault,) = [one for one in found["findings"] if one["severity"] == "error"]
    assert (fault["key"], fault["message"]) == ("spec.elasticPolicy.nodes", "5 is not legal.")


def test_plan_of_a_job_that_keeps_its_nodes_says_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, text = planned(tmp_path, capsys, make_job().nodes(4))
    assert "legal nodes" not in text
