"""Incoming webhooks: URLs by which others tell an app that something happened."""
