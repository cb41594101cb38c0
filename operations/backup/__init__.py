"""Encrypted archives of everything that one Portico keeps, and putting one back."""
