"""Signed webhooks in both directions, as Standard Webhooks describes them."""
