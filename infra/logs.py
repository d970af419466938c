"""Logs: one line an event, to standard error, as JSON or as text for people."""

import logging
import os
import sys
from contextlib import suppress
from typing import Any

import orjson
import structlog
from structlog.typing import EventDict, Processor

# What libraries say at INFO is about themselves (uvicorn's start, every arq job, boto's credentials); ours covers it.
_LIBRARY_LEVEL = {"debug": logging.INFO}


def configure(level: str = "info", format: str = "auto") -> None:
    """Set up structlog and the standard library's loggers, which uvicorn, arq, alembic and SQLAlchemy use."""
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _source,
        structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
        structlog.processors.StackInfoRenderer(),
    ]
    rendering: list[Processor] = (
        [structlog.processors.format_exc_info, _json]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                timestamp_key="time",
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=_Lines,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    logging.raiseExceptions = False  # a reader of our standard error that went away is no reason to write more
    logging.basicConfig(
        handlers=[handler], level=_LIBRARY_LEVEL.get(level, max(threshold, logging.WARNING)), force=True
    )


def get_logger(name: str) -> Any:
    """A structlog logger: `log.info("event", key=value)`. Made at import, it obeys `configure` whenever that comes."""
    return structlog.get_logger(source=name)


class _Lines:
    """Writes each event with one system call: whole lines from any thread or process, and no lock to be caught in.

    A reader that went away must not break what was only being told of.
    """

    def __init__(self, *_names: str) -> None:
        self._descriptor = sys.stderr.fileno()

    def msg(self, line: str) -> None:
        with suppress(OSError):
            os.write(self._descriptor, f"{line}\n".encode(errors="replace"))

    debug = info = warning = error = critical = msg


def _source(_logger: object, _method: str, event: EventDict) -> EventDict:
    """Name the source of a line that came through the standard library, as `get_logger` does for ours."""
    if (record := event.get("_record")) is not None:
        event["source"] = record.name
    return event


def _json(_logger: object, _method: str, event: EventDict) -> str:
    first = {key: event.pop(key) for key in ("time", "level", "event") if key in event}
    return orjson.dumps({**first, **event}, default=str, option=orjson.OPT_NON_STR_KEYS).decode()
