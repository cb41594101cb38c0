"""Telegram bots: webhook or long polling in, the Bot API out."""
