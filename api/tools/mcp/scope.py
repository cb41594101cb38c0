"""Keys that the MCP endpoint adds to an ASGI scope."""

PERSON = "portico.person"
"""The authenticated `Principal`, set before the SDK handles the request."""
