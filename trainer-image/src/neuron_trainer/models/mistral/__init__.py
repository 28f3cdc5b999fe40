"""Mistral: Llama with a sliding window and defaults of its own."""
