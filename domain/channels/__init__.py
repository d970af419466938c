"""Channels: people talk with agents where they write anyway, in Telegram, Slack or by e-mail."""
