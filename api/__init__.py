"""The edge: webhooks, chat socket, messages, codec server, health."""
