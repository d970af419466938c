"""Signing in without a password: by an OpenID provider, by a magic link."""
