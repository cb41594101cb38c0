"""Tool runs by REST, gRPC and MCP: start, wait, events, approvals."""
