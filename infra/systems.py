"""The systems whose routes this server answers."""

from rest_compat.engine.system import System
from rest_compat.rootcx.system import ROOTCX
from rest_compat.stoa.system import STOA

SYSTEMS: tuple[System, ...] = (ROOTCX, STOA)
"""In the order in which they are described."""
