"""Crons: jobs that are handed in by the clock."""
