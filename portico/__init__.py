"""The ground that every layer shares: contracts, settings, crypto, egress, storage, clients, tools."""
