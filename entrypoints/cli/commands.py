"""The table of commands: where each is defined and what it does. Imports nothing, so that `--help` is quick."""

from __future__ import annotations

COMMANDS: dict[str, tuple[str, str]] = {
    "up": ("entrypoints.cli.up:up", "start Portico and stay in the foreground; Ctrl-C stops it"),
    "down": ("entrypoints.cli.stack:down", "stop the Portico of this home"),
    "status": ("entrypoints.cli.stack:status", "each part: process, address, ready or not"),
    "logs": ("entrypoints.cli.stack:logs", "the log of a part"),
    "doctor": (
        "entrypoints.cli.doctor:doctor",
        "check this machine and this home, and say how to fix what is wrong",
    ),
    "open": ("entrypoints.cli.open:open_page", "a one-time login link for the chat page"),
    "send": ("entrypoints.cli.send:send", "send a message and print the reply"),
    "channels": ("entrypoints.cli.channels:app", "platforms where people reach Portico"),
    "pair": ("entrypoints.cli.pair:app", "let people in"),
    "models": ("entrypoints.cli.models.commands:app", "language models: list, detect, choose, serve"),
    "tools": ("entrypoints.cli.tools.commands:app", "list, run and create tools"),
    "policy": ("entrypoints.cli.policy:app", "try and test the rules"),
    "keys": ("entrypoints.cli.keys:app", "bearer keys for programs"),
    "keyring": ("entrypoints.cli.keyring:app", "keys of the encrypted data: list and rotate them"),
    "secrets": ("entrypoints.cli.secrets:app", "values that settings refer to as secret:NAME"),
    "env": ("entrypoints.cli.env:env", "shell exports for scripts and SDKs"),
    "dead-letters": ("entrypoints.cli.dead_letters:app", "what failed for good, and retrying it"),
    "backup": ("entrypoints.cli.backup:backup", "save this home in one encrypted file"),
    "restore": ("entrypoints.cli.backup:restore", "replace this home with such a file"),
    "deploy": ("entrypoints.cli.deploy.commands:app", "run Portico on a server: secrets, checks, versions"),
    "serve": (
        "entrypoints.cli.serve:serve",
        "one process in the foreground, for containers and service managers",
    ),
}
"""name → (module:attribute, one line of help). The attribute is a function or a `typer.Typer`."""

GROUPS: dict[str, tuple[str, ...]] = {
    "Run": ("up", "down", "status", "logs", "doctor"),
    "Talk": ("open", "send", "channels", "pair"),
    "Models, tools and rules": ("models", "tools", "policy"),
    "Access": ("keys", "keyring", "secrets", "env"),
    "Look after": ("dead-letters", "backup", "restore"),
    "Servers": ("deploy", "serve"),
}
"""How the overview is grouped; every command is in exactly one group."""
