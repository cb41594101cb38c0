"""The OpenAI-compatible door: other programs use the private models, under the same policy."""
