"""Resume is a contract with words: every key has an effect, and each difference is told once, with both values.

The kind: a value that changes, or does not change, on a resume without a word (insightface#2143, ModernBERT#124). Tried
with the legal value of every documented key (tests/unit/api/keys) in both directions, and with pairs of them. What a
run then does with an edited file: tests/unit/trainer/test_resume_edits.py.
"""

import copy
import itertools
from functools import cache
from typing import Any

import pytest
import yaml

from key_cases import Case, cases, text_with
from neuron_api import resumption
from neuron_api.loading.loader import load_text
from neuron_api.resource.progress import Progress, final_report, from_final_report
from neuron_api.resumption import Difference, Effect
from neuron_api.schema.key_path import all_paths, section_of

BASE = "hf_llama3_8B_config"


@cache
def effective(text: str) -> dict[str, Any]:
    loaded = load_text(text)
    assert loaded.config is not None, loaded.findings
    return resumption.effective(loaded.config)


def changed(**keys: Any) -> tuple[Difference, ...]:
    """What is told of the base file with some keys edited."""
    edits = {key.replace("__", "."): value for key, value in keys.items()}
    return resumption.compare(effective(text_with(BASE)), effective(text_with(BASE, edits)))


def test_every_documented_key_has_an_effect() -> None:
    """Keys that are sections have one where they may be absent as a whole."""
    values = [path for path, info in all_paths() if section_of(info) is None]
    optional = [path for path, info in all_paths() if section_of(info) is not None and info.default is None]
    assert [path for path in (*values, *optional) if resumption.effect(path) is None] == []
    listed = [key for section in resumption._EFFECTS.values() for keys in section.values() for key in keys.split()]
    assert len(listed) == len(resumption._by_path()), "each has one effect"
    assert set(resumption._by_path()) <= {path for path, _ in all_paths()}, "and is documented"


@pytest.mark.slow
@pytest.mark.parametrize("case", [one for one in cases() if "only" not in one.more], ids=lambda case: case.key)
def test_an_edit_of_any_key_is_told_in_either_direction(case: Case) -> None:
    is_legal = load_text(case.text("before")).config is not None  # some need what makes the base illegal without them
    before = effective(case.text("before") if is_legal else text_with(case.base))
    after = effective(case.text("legal"))
    if before == after:
        return
    there, back = resumption.compare(before, after), resumption.compare(after, before)
    assert [(one.key, one.before, one.after) for one in there] == [(one.key, one.after, one.before) for one in back]
    told = {one.key for one in there}
    assert any(
        case.lands == key or case.lands.startswith(f"{key}.") or key.startswith(f"{case.lands}.") for key in told
    )
    assert all(len(one.line) <= resumption.LINE_LENGTH and one.key in one.line for one in (*there, *back))


def test_a_file_that_says_the_same_in_other_words_is_no_edit() -> None:
    values = yaml.safe_load(text_with(BASE))
    values["model"]["optim"]["amsgrad"] = False  # the default, written out
    values["trainer"] = dict(reversed(list(values["trainer"].items())))
    assert resumption.compare(effective(text_with(BASE)), effective(yaml.safe_dump(values, sort_keys=False))) == ()


@pytest.mark.parametrize(("key", "value", "effect"), [
    ("model.optim.lr", 1e-5, Effect.RATE), ("trainer.max_epochs", 7, Effect.RATE),
    ("model.optim.sched.min_lr", 1e-6, Effect.RATE), ("seed", 99, Effect.NUMBERS),
    ("model.optim.weight_decay", 0.5, Effect.NUMBERS), ("precision.type", "fp32", Effect.NUMBERS),
    ("data.global_batch_size", 2048, Effect.NUMBERS), ("data.train_dir", "/other", Effect.NUMBERS),
    ("model.optim.name", "adamw", Effect.REFUSED), ("distributed_strategy.zero1", False, Effect.ROUNDING),
    ("model.init_method_std", 0.5, Effect.START), ("trainer.log_every_n_steps", 5, Effect.NONE),
    ("exp_manager.checkpoint_callback_params.every_n_train_steps", 3, Effect.FILE),
    ("model.my_own", 1, Effect.NUMBERS), ("data.my_own", [1], Effect.NUMBERS),
    ("model.hidden_size", None, Effect.SIZE),
])  # fmt: skip
def test_the_effect_of_an_edit(key: str, value: Any, effect: Effect) -> None:
    assert [(one.key, one.effect) for one in changed(**{key: value})] == [(key, effect)]


@pytest.mark.parametrize(("before", "after", "refused"), [
    (False, True, True), (True, False, False), (0, 0.9, True), (0.9, 0, False), (0.9, 0.8, False),
])  # fmt: skip
def test_state_that_the_checkpoint_has_not_is_refused_and_what_it_has_too_much_is_not(
    before: Any, after: Any, refused: bool
) -> None:
    def config(value: Any) -> dict[str, Any]:
        return {"model": {"optim": {"momentum": value}}}

    (found,) = resumption.compare(config(before), config(after))
    assert found.is_refused is refused


def test_a_section_that_comes_or_goes_is_one_line() -> None:
    (found,) = changed(model_alignment_strategy={"sft": {"packing": True}})
    assert (found.key, found.before, found.is_refused) == ("model_alignment_strategy", None, True)


@pytest.mark.parametrize(("before", "after"), [("dpo", "orpo"), ("orpo", "sft"), ("sft", "dpo")])
def test_another_method_is_one_line_with_both_names(before: str, after: str) -> None:
    first, second = ({"model_alignment_strategy": {name: {}, "peft": {"lora_rank": 4}}} for name in (before, after))
    first["model_alignment_strategy"]["peft"] = {"lora_rank": 8}
    assert [(one.key, one.before, one.after, one.is_refused) for one in resumption.compare(first, second)] == [
        ("model_alignment_strategy", before, after, True), ("model_alignment_strategy.peft.lora_rank", 8, 4, True),
    ]  # fmt: skip


def test_a_size_that_both_files_give_is_refused_and_one_of_config_json_is_compared_there() -> None:
    before, after = ({"model": {"num_layers": layers}} for layers in (4, 8))
    assert [one.is_refused for one in resumption.compare(before, after)] == [True]
    found = resumption.compare_architectures(
        {"num_hidden_layers": 4, "rope_theta": 1e4}, {"num_hidden_layers": 8, "rope_theta": 5e5}
    )
    assert [(one.key, one.is_refused) for one in found] == [
        ("the model's num_hidden_layers", True), ("the model's rope_theta", False),
    ]  # fmt: skip


def test_pairs_of_edits_are_told_each_once_in_the_order_of_the_file() -> None:
    edits = {
        "seed": 3, "trainer.max_epochs": 7, "model.optim.lr": 1e-5, "data.train_dir": "/b",
        "trainer.max_time": "00:01:00:00", "exp_manager.save_bf16": True, "model.optim.betas": [0.8, 0.9],
    }  # fmt: skip
    order = [key for key, _ in all_paths()]
    for pair in itertools.combinations(edits, 2):
        found = [one.key for one in changed(**{key: edits[key] for key in pair})]
        assert found == sorted(pair, key=order.index)


def test_the_text_is_a_headline_and_a_line_for_each_difference() -> None:
    assert resumption.describe(10, changed(model__optim__lr=1e-5)) == (
        "resume at step 10: 1 key differs from the checkpoint's configuration (checkpoint -> file):",
        "model.optim.lr: 0.00015 -> 1e-05: the rate is the file's curve at this step",
    )
    assert resumption.describe(10, ()) == (
        "resume at step 10: the configuration is the one that the checkpoint was written with.",
    )
    (unknown,) = resumption.describe(10, None)
    assert "older release" in unknown
    assert "not compared" in unknown


def test_however_much_differs_the_text_and_the_last_words_are_bounded() -> None:
    differences = tuple(Difference(f"data.k{n}", "a" * 1000, "b" * 1000, Effect.NUMBERS) for n in range(500))
    found = resumption.describe(1, differences)
    assert len(found) == resumption.MAX_LINES + 2
    assert found[-1] == "and 436 more"
    assert max(map(len, found)) <= resumption.LINE_LENGTH
    words = final_report(Progress(step=7, resume=found))
    read = from_final_report(words)
    assert read is not None
    assert read.step == 7
    assert read.resume == found[:1]


def test_a_secret_is_in_no_manifest_and_one_of_an_older_release_is_no_edit() -> None:
    keys = {"exp_manager.mlflow_logger_kwargs": {"tracking_uri": "https://me:hidden@mlflow.example/api"}}
    after = effective(text_with(BASE, keys))
    assert after["exp_manager"]["mlflow_logger_kwargs"] == {"tracking_uri": "https://mlflow.example/api"}
    before = copy.deepcopy(after)
    before["exp_manager"]["mlflow_logger_kwargs"]["tracking_uri"] = "https://me:hidden@mlflow.example/api"
    assert resumption.compare(before, after) == ()


def test_a_key_that_the_release_of_the_checkpoint_did_not_know_counts_as_its_default() -> None:
    """Kind: an upgrade between two starts. No edit by the user, so nothing is reported; a value that is set is."""
    before, after = (copy.deepcopy(effective(text_with(BASE))) for _ in range(2))
    del before["model"]["token_weighted_loss"], before["data"]["shuffle_rows"], before["exp_manager"]["version"]
    assert resumption.compare(before, after) == ()
    after["model"]["token_weighted_loss"] = True
    assert [one.key for one in resumption.compare(before, after)] == ["model.token_weighted_loss"]
