"""Shared kernel of Portico: contracts, settings, ids, crypto, storage, clients, CLI, embedded stack."""
