"""The OpenAI-compatible endpoint: other programs use the private models, under the same policy."""
