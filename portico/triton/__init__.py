"""Triton clients: inference, model control, encoder, cache."""
