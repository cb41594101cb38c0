"""Encrypted objects in S3: blobs, artifacts, workspaces."""
