"""What goes wrong with PostgreSQL, in the words of the domain."""

import asyncio

import asyncpg
from asyncpg.exceptions import InternalClientError
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from domain.kernel.errors import Busy, Invalid, TimedOut, Unavailable
from domain.kernel.unit import StatementRefused

RETRY_AFTER_S = 1.0
# Connection lost or refused, server starting or stopping, out of connections or of disk; a deadlock or a
# serialization failure, which the same request survives when it is sent again.
PASSING_CLASSES = ("08", "53", "57P", "58", "25P03", "40001", "40P01", "XX")
CANCELLED = "57014"
LOCK_TIMEOUT = "55P03"
# A text with U+0000, and JSON with one: the one character that PostgreSQL keeps nowhere.
NUL = ("22021", "22P05")

# `InternalClientError` is what asyncpg says when a connection dies in the middle of a call; it is no InterfaceError.
LOST = (asyncpg.InterfaceError, InternalClientError, ConnectionError, OSError, asyncio.TimeoutError, PoolTimeout)


def translated(error: Exception) -> Exception:
    """The domain's exception for one of the driver's or of SQLAlchemy's; any other as it is."""
    cause = driver_error(error)
    if isinstance(cause, asyncpg.PostgresError):
        return _refusal(cause)
    if isinstance(cause, LOST):
        return _unavailable()
    return error


def driver_error(error: BaseException) -> BaseException:
    """The driver's own exception below what SQLAlchemy wrapped around it."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        return error.orig.__cause__ or error.orig
    return error


def is_lost(error: BaseException) -> bool:
    """Whether the connection it happened on is of no more use."""
    cause = driver_error(error)
    if isinstance(cause, asyncpg.PostgresError):
        return (cause.sqlstate or "").startswith(("08", "57P"))
    return isinstance(cause, LOST)


def _refusal(error: asyncpg.PostgresError) -> Exception:
    state = error.sqlstate or ""
    if state == CANCELLED:
        return TimedOut("the database took too long to answer this")
    if state == LOCK_TIMEOUT:
        return Busy("what this needs is in use at the moment, try again", retry_after_s=RETRY_AFTER_S)
    if state.startswith(PASSING_CLASSES):
        return _unavailable()
    if state in NUL:
        return Invalid(None, "no text may hold the character U+0000")
    return StatementRefused(
        state,
        str(error),
        table=error.table_name,
        column=error.column_name,
        constraint=error.constraint_name,
        detail=error.detail,
    )


def _unavailable() -> Unavailable:
    return Unavailable("the database is not ready, try again", retry_after_s=RETRY_AFTER_S)
