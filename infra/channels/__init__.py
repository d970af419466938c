"""Channels on the wire: Telegram, Slack and e-mail, and the loop that carries messages."""
