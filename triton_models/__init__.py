"""What Triton serves: sources of the models, and what builds them. Imports nothing of the rest."""
