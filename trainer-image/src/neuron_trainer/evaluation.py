"""`neuron-train test`: the loss of a checkpoint on `trainer.limit_test_batches` of the test set."""

from typing import Final

from neuron_api.config import TrainingConfig
from neuron_api.findings.finding import Finding, error

RESULTS_FILE: Final = "tests.jsonl"
"""In the log directory: a line for each test."""


def applied(config: TrainingConfig) -> TrainingConfig:
    """The configuration with nothing that belongs to training alone: no validation, no checkpoints, no logger.

    What is tested is `resume_from_checkpoint` where it is given, else the newest complete checkpoint of the run.
    """
    manager = {
        "resume_if_exists": not config.exp_manager.resume_from_checkpoint,
        "resume_ignore_no_checkpoint": True,
        "create_checkpoint_callback": False,
        "create_tensorboard_logger": False,
        "create_early_stopping_callback": False,
    }
    return config.model_copy(
        update={
            "trainer": config.trainer.model_copy(update={"limit_val_batches": 0, "num_sanity_val_steps": 0}),
            "exp_manager": config.exp_manager.model_copy(update=manager),
        }
    )


def check(config: TrainingConfig) -> list[Finding]:
    """Whether there is anything to test on."""
    key = "trainer.limit_test_batches"
    if not config.trainer.limit_test_batches:
        return [error(key, "it is 0: there is nothing to test.", 'Give a number of batches, or "1.0" for all.')]
    return []
