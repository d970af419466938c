"""The systems whose routes this server answers."""

from rest_compat.engine.system import System
from rest_compat.rootcx.system import ROOTCX

SYSTEMS: tuple[System, ...] = (ROOTCX,)
"""In the order in which they are described."""
