"""Every test of agents has them think."""

from tests.agents.serving import host, model, stoa

__all__ = ["host", "model", "stoa"]
