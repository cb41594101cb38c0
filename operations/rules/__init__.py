"""Policy bundles: build, check and test."""
