"""Generative pre-training of the encoder (section 3.1)."""
