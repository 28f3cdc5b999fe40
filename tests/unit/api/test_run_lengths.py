"""Runs whose numbers contradict each other are told before they start.

The kind: an interval as long as the run (no checkpoint or validation before its end), a limit of nothing, a split of no
documents, no schedule. Looked at: steps, epochs and seconds, with and without bounds, what is switched
off on purpose, interpolations that only the pod resolves, both data modules.
"""

from pathlib import Path

import pytest

from neuron_api.loading.loader import load_text

CONFIGS = Path(__file__).parents[2] / "data" / "configs"
HF = (CONFIGS / "hf_llama3_8B_config.yaml").read_text()
MEGATRON = (CONFIGS / "megatron_llama_7B_config.yaml").read_text()
PARAMS = "exp_manager.checkpoint_callback_params"
STEPS, EPOCHS, SECONDS = (f"{PARAMS}.{key}" for key in ("every_n_train_steps", "every_n_epochs", "train_time_interval"))


def codes(text: str, *changes: str) -> dict[str, str]:
    """Key by code of the findings that the changes add."""
    before = {(one.code, one.key) for one in load_text(text).findings}
    findings = load_text(text, changes).findings
    return {one.code: one.key for one in findings if (one.code, one.key) not in before}


@pytest.mark.parametrize(
    ("changes", "key"),
    [
        ((f"{STEPS}=10000",), STEPS),
        ((f"{STEPS}=200000",), STEPS),
        ((f"{STEPS}=9999",), None),
        ((f"{STEPS}=0",), STEPS),
        ((f"{STEPS}=200000", "trainer.max_steps=-1", "trainer.max_epochs=2"), None),
        ((f"{STEPS}=0", f"+{EPOCHS}=2", "trainer.max_epochs=2"), EPOCHS),
        ((f"{STEPS}=0", f"+{EPOCHS}=1", "trainer.max_epochs=2"), None),
        ((f"{STEPS}=0", f"+{EPOCHS}=1", "trainer.max_epochs=-1"), None),
        ((f"{STEPS}=0", f"+{SECONDS}=3600", "+trainer.max_time=00:01:00:00"), SECONDS),
        ((f"{STEPS}=0", f"+{SECONDS}=3599", "+trainer.max_time={hours: 1}"), None),
        ((f"{STEPS}=0", f"+{SECONDS}=3600", "+trainer.max_time=${{oc.env:TIME}}"), None),
        ((f"{STEPS}=0", f"+{SECONDS}=3600"), None),
    ],
)
def test_a_run_that_saves_at_its_end_only_is_a_warning(changes: tuple[str, ...], key: str | None) -> None:
    assert codes(HF, *changes).get("NTJ-2220") == key


def test_what_is_switched_off_on_purpose_is_a_note_and_no_warning() -> None:
    for change in ("exp_manager.create_checkpoint_callback=false", f"{PARAMS}.save_top_k=0"):
        found = codes(HF, change, f"{STEPS}=200000")
        assert "NTJ-2220" not in found
        assert found["NTJ-2221"] == change.partition("=")[0]


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        (("trainer.val_check_interval=10001",), "NTJ-2113"),
        (("trainer.val_check_interval=10000",), None),
        (("trainer.check_val_every_n_epoch=3", "trainer.max_epochs=2"), "NTJ-2113"),
        (("trainer.check_val_every_n_epoch=2", "trainer.max_epochs=2"), None),
        (("trainer.check_val_every_n_epoch=1", "trainer.val_check_interval=30", "+trainer.limit_train_batches=10"),
         "NTJ-2105"),
        (("trainer.check_val_every_n_epoch=null", "trainer.val_check_interval=30", "+trainer.limit_train_batches=10"),
         None),
        (("trainer.check_val_every_n_epoch=1", "trainer.val_check_interval=3", "+trainer.overfit_batches=2"),
         "NTJ-2105"),
        (("trainer.check_val_every_n_epoch=1", "trainer.val_check_interval=10", "+trainer.limit_train_batches=10"),
         None),
    ],
)  # fmt: skip
def test_a_validation_that_never_runs_is_found_where_validation_is_on(
    changes: tuple[str, ...], code: str | None
) -> None:
    on = ("trainer.limit_val_batches=2", "data.val_dir=/v", "trainer.val_check_interval=100")
    assert {one for one in codes(HF, *on, *changes) if one in ("NTJ-2105", "NTJ-2113")} == ({code} if code else set())
    assert not {"NTJ-2105", "NTJ-2113"} & codes(HF, *on, "trainer.limit_val_batches=0", *changes).keys()


@pytest.mark.parametrize("value", ["0", "0.0", "'0'", "'0.0'"])
def test_a_limit_of_no_batches_trains_nothing(value: str) -> None:
    assert codes(HF, f"+trainer.limit_train_batches={value}").get("NTJ-2109") == "trainer.limit_train_batches"


@pytest.mark.parametrize(
    ("splits", "validates", "words"),
    [
        ("'100,0,0'", True, "no documents to validation"),
        ("'100'", True, "no documents to validation"),
        ("100/0/0", True, "no documents to validation"),
        ("'99.9,0.1'", True, ""),
        ("'100,0,0'", False, ""),
        ("'0,100,0'", False, "no documents to train"),
        ("'980, 10, 10'", True, ""),
    ],
)
def test_a_split_without_documents_is_an_error_where_it_is_read(splits: str, validates: bool, words: str) -> None:
    loaded = load_text(MEGATRON, [f"data.splits_string={splits}", f"trainer.limit_val_batches={int(validates)}"])
    messages = [one.message for one in loaded.errors if one.code == "NTJ-2418"]
    assert bool(messages) == bool(words)
    assert all(words in one for one in messages)


def test_a_mapping_of_prefixes_ignores_the_splits() -> None:
    prefix = "data.data_prefix={train: [1.0, /a], validation: [1.0, /b]}"
    changes = (prefix, "data.splits_string='100,0,0'", "trainer.limit_val_batches=1")
    assert "NTJ-2418" not in codes(MEGATRON, *changes)


def test_without_a_schedule_the_rate_is_constant_and_a_note_says_so() -> None:
    for change in ("~model.optim.sched", "model.optim.sched=null"):
        loaded = load_text(HF, [change])
        assert loaded.config is not None
        sched = loaded.config.model.optim.sched
        assert (sched.name, sched.warmup_steps, sched.min_lr) == ("WarmupPolicy", None, None)
        [note] = [one for one in loaded.findings if one.code == "NTJ-2619"]
        assert "the rate is constant, 0.00015" in note.message
    assert "NTJ-2619" not in codes(HF, "~model.optim.sched.name")
    assert "NTJ-2619" not in codes(HF, "~model.optim.sched", "model.optim.name=adafactor", "~model.optim.lr",
                                   "+model.optim.relative_step=true", "~model.optim.betas")  # fmt: skip


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ("+exp_manager.early_stopping_callback_params={mode: least}", "NTJ-2218"),
        ("+exp_manager.early_stopping_callback_params={patience: long}", "NTJ-2218"),
        ("+exp_manager.early_stopping_callback_params={min_delta: true}", "NTJ-2218"),
        ("+exp_manager.early_stopping_callback_params={mode: max, patience: 3, min_delta: 1e-3}", None),
        ("+exp_manager.summary_writer_kwargs={logdir: /logs}", "NTJ-2222"),
        ("+exp_manager.summary_writer_kwargs={flush_secs: 10, max_queue: 5}", None),
        ("+trainer.fast_dev_run=-1", "NTJ-1403"),
        ("+trainer.fast_dev_run=true", None),
    ],
)
def test_arguments_that_lightning_would_refuse_in_every_process_are_refused_here(change: str, code: str | None) -> None:
    assert [one.code for one in load_text(HF, [change]).errors] == ([code] if code else [])
