"""Clients of the parts: Temporal, Triton, OPA, language models."""
