"""Runs of agents, what they tell those who follow them, and the models they think with."""
