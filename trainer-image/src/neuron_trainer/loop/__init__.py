"""The training loop: Lightning's `Trainer` around our step.

A step is two files: `TrainingModule.training_step` (what happens in which order) and `step` (gradients). `trainer` puts
the parts together and tells Lightning how to save and load; `reporting`, `checkpointing` and `stopping` are its
callbacks.
"""
