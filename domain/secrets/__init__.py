"""The vault: secrets by scope and name, unreadable at rest."""
