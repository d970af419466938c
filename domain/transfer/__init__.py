"""Records on their way out and in: exports and imports."""
