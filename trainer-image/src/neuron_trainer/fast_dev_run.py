"""`trainer.fast_dev_run`: a few steps of everything, and nothing left behind. Lightning's meaning, written into the
configuration, so that launcher and processes agree on it.
"""

from neuron_api.config import TrainingConfig


def applied(config: TrainingConfig) -> TrainingConfig:
    """The configuration itself where the key is off; n steps, as many validation batches, no logger, no checkpoint."""
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
    manager = {"create_tensorboard_logger": False, "create_checkpoint_callback": False, "resume_if_exists": False}
    return config.model_copy(
        update={
            "trainer": config.trainer.model_copy(update=trainer),
            "exp_manager": config.exp_manager.model_copy(update=manager),
        }
    )
