"""Contracts that cross folders: frozen, read tolerantly for ever."""
