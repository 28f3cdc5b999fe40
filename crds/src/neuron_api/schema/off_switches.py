"""How to switch a key off, where other programs take -1, 0 or False: the remedy for a value out of range."""

from collections.abc import Mapping
from typing import Final

_CHECKPOINT: Final = "exp_manager.checkpoint_callback_params"
_TIME: Final = "Leave the key out to switch it off."

OFF: Final[Mapping[str, str]] = {
    f"{_CHECKPOINT}.every_n_train_steps": "0 switches it off; the checkpoint at the end is written anyway.",
    f"{_CHECKPOINT}.every_n_epochs": "0 switches it off.",
    f"{_CHECKPOINT}.train_time_interval": _TIME,
    f"{_CHECKPOINT}.save_top_k": "-1 keeps all checkpoints, 0 writes none.",
    "trainer.max_steps": "-1 is no bound.",
    "trainer.max_epochs": "-1 is no bound.",
    "trainer.num_sanity_val_steps": "0 switches it off, -1 takes all batches.",
    "trainer.val_check_interval": "Set trainer.limit_val_batches to 0 to switch validation off.",
    "trainer.check_val_every_n_epoch": "Set trainer.limit_val_batches to 0 to switch validation off.",
    "trainer.limit_val_batches": "0 switches validation off; for all batches write 1.0.",
    "trainer.limit_test_batches": "0 switches it off; for all batches write 1.0.",
    "trainer.limit_train_batches": "Leave the key out for all batches.",
    "trainer.limit_predict_batches": "Leave the key out for all batches.",
    "trainer.overfit_batches": "0 switches it off.",
    "trainer.gradient_clip_val": "0 or null switches clipping off.",
    "trainer.min_steps": _TIME,
    "trainer.min_epochs": _TIME,
    "trainer.reload_dataloaders_every_n_epochs": "0 switches it off.",
    "trainer.log_every_n_steps": "Metrics cannot be switched off; use a large number for few of them.",
    "data.num_workers": "0 loads the data in the training process.",
    "data.dev_choose_samples": "Leave the key out for all records.",
    "model.num_layers": "-1 takes the number in config.json.",
    "model.hidden_size": "-1 takes the number in config.json.",
    "model.sliding_window_size": "Leave the key out for no window.",
    "model.optim.weight_decay": "0 switches it off.",
    "model.optim.sched.warmup_steps": "0 is no warm-up.",
    "model.optim.sched.constant_steps": "0 switches it off.",
    "model.optim.sched.hold_steps": "0 switches it off.",
    "model.hidden_dropout": "0 switches it off.",
    "model.attention_dropout": "0 switches it off.",
    "model.ffn_dropout": "0 switches it off.",
}
"""Remedy by key, for keys that can be off or unbounded."""
