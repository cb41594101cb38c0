"""The OPA client."""
