"""A language model on Triton: what reads its folder, decodes, and speaks to the server. Stands alone."""
