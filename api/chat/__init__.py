"""The chat page's WebSocket, messages and conversations."""
