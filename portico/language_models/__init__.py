"""Language models that lie on this machine for Triton: what is known of them, what they need, how they come here."""
