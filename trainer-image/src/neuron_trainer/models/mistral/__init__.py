"""Mistral: Llama with a sliding window and defaults of its own; only `config` differs, all else is `llama`'s."""
