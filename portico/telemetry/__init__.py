"""Traces and worker metrics."""
