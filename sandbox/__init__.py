"""A sandbox service: runs untrusted code, speaks the protocol of E2B, and stands alone."""
