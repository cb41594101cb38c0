"""What Triton serves: sources of the models, and what builds and quantizes them. Imports nothing of the rest."""
