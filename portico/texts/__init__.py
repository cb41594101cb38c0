"""Texts for people and models: one catalogue in English and Chinese."""
