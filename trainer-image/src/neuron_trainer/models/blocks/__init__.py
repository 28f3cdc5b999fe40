"""Parts that families share: norms, rotary positions, attention, MLP, experts, dropout, and their roles in a split.

A family's `model` puts them together under the class names that `activations_checkpoint_recompute` lists (B-6), and
with one set of parameter names: those of `transformers`' Llama.
"""
