"""Ids that no app can have: those of the system's own schemas."""

from domain.kernel.model import SCHEMA

RESERVED = ("rootcx_system", "information_schema", "core", SCHEMA)


def is_reserved(app_id: str) -> bool:
    """Whether the id names a schema of the system (RootCX, reserved schemas)."""
    return app_id in RESERVED or app_id.startswith("pg_")
