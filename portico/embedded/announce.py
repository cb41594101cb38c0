"""The end of a start: the self-check, and where to go from here."""

from __future__ import annotations

from portico.embedded.stack import Stack


async def announce(stack: Stack) -> None:
    """Called once, when every part is ready."""
    address = stack.context.registry.address("api")
    if "api" in stack.runners:
        stack.report("portico", f"is up: http://{address}/")
    else:
        stack.report("portico", "the chosen parts are up")
