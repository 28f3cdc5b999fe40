"""The configuration as one run uses it: adjustments that the launcher and its processes make alike.

Each function returns the configuration itself where there is nothing to change.
"""

from typing import Any, Final

from neuron_api.config import TrainingConfig
from neuron_api.derive import alignment
from neuron_api.findings.finding import Finding, error

RESULTS_FILE: Final = "tests.jsonl"
"""In the log directory: one line for each `neuron-train test`."""
LOGGERS: Final = ("create_tensorboard_logger", "create_mlflow_logger", "create_wandb_logger")
"""Keys of `exp_manager` that send numbers elsewhere: what is no training of its own must not write into its run."""


def for_training(config: TrainingConfig) -> TrainingConfig:
    """Apply `trainer.fast_dev_run` and the length of records."""
    return with_record_length(with_fast_dev_run(config))


def with_fast_dev_run(config: TrainingConfig) -> TrainingConfig:
    """Apply `trainer.fast_dev_run: n` as Lightning means it: n steps, as many validation batches, no logger, no
    checkpoint."""
    steps = int(config.trainer.fast_dev_run)
    if not steps:
        return config
    trainer = {
        "max_steps": steps,
        "max_epochs": 1,
        "limit_train_batches": steps,
        "limit_val_batches": steps if config.trainer.limit_val_batches else 0,
        "num_sanity_val_steps": 0,
        "val_check_interval": None,
        "check_val_every_n_epoch": 1,
        "fast_dev_run": False,
    }
    manager = {"create_checkpoint_callback": False, "resume_if_exists": False, **dict.fromkeys(LOGGERS, False)}
    return _updated(config, trainer, manager)


def with_record_length(config: TrainingConfig) -> TrainingConfig:
    """Run the model at the length of the records in fine-tuning, `data.seq_length` (A6).

    A Megatron model keeps its number of positions.
    """
    length = alignment.sequence_length(config, alignment.strategy(config))
    if length == config.model.encoder_seq_length:
        return config
    model: dict[str, Any] = {"encoder_seq_length": length}
    if config.model_source == "megatron" and config.model.max_position_embeddings is None:
        model["max_position_embeddings"] = config.model.encoder_seq_length
    return config.model_copy(update={"model": config.model.model_copy(update=model)})


def for_test(config: TrainingConfig) -> TrainingConfig:
    """Switch off what belongs to training alone, for `neuron-train test`: validation, checkpoints, loggers.

    The checkpoint to test is `resume_from_checkpoint` where it is set, else the newest complete one of the run.
    """
    manager = {
        "resume_if_exists": not config.exp_manager.resume_from_checkpoint,
        "resume_ignore_no_checkpoint": True,
        "create_checkpoint_callback": False,
        **dict.fromkeys(LOGGERS, False),
        "create_early_stopping_callback": False,
    }
    return _updated(config, {"limit_val_batches": 0, "num_sanity_val_steps": 0}, manager)


def check_test(config: TrainingConfig) -> list[Finding]:
    """Return a finding where a test has no batches to run on."""
    key = "trainer.limit_test_batches"
    if not config.trainer.limit_test_batches:
        return [error(key, "it is 0: there is nothing to test.", 'Give a number of batches, or "1.0" for all.')]
    return []


def _updated(config: TrainingConfig, trainer: dict[str, Any], manager: dict[str, Any]) -> TrainingConfig:
    return config.model_copy(
        update={
            "trainer": config.trainer.model_copy(update=trainer),
            "exp_manager": config.exp_manager.model_copy(update=manager),
        }
    )
