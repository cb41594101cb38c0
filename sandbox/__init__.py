"""A sandbox service: runs code that nobody trusts, speaks the protocol of E2B, and stands alone."""
