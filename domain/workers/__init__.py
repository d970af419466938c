"""Deployed code: its archives, the workers that run it, what may be asked of them, and what they say."""
