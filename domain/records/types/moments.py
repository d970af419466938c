"""Types whose values are days, times, moments and stretches of time."""

import re
from dataclasses import dataclass
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

from domain.records.types.base import FieldType, NotOfType

TIME_WORDS = "now|today|tomorrow|yesterday|epoch|infinity|bc|[0-9]{5,}-"
YEARS_MAX = 100_000
DAYS_MAX = 100_000_000
HOURS_MAX = 1_000_000_000

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}")
_OFFSET = re.compile(r".*[T ].*(Z|[+-]\d{2}:?\d{2})", re.IGNORECASE)
_TIME = re.compile(r"\d{2}:\d{2}(:\d{2}(\.\d{1,6})?)?")
_DURATION = re.compile(
    r"(?P<sign>-?)P(?!$)(?:(?P<years>-?\d+)Y)?(?:(?P<months>-?\d+)M)?(?:(?P<weeks>-?\d+)W)?(?:(?P<days>-?\d+)D)?"
    r"(?:T(?!$)(?:(?P<hours>-?\d+)H)?(?:(?P<minutes>-?\d+)M)?(?:(?P<seconds>-?\d+(?:\.\d{1,6})?)S)?)?",
    re.ASCII,
)


@dataclass(frozen=True)
class DateType(FieldType):
    """A day, `YYYY-MM-DD`."""

    name = "date"
    column = "date"
    bound = "text::date"  # the driver takes the first and the last day that Python knows for infinities
    foreign_words = TIME_WORDS
    graphql = "Date"

    def stored(self, value: Any) -> str:
        if isinstance(value, str) and _DATE.fullmatch(value):
            try:
                return date.fromisoformat(value).isoformat()
            except ValueError:
                pass
        raise NotOfType("must be a date, YYYY-MM-DD")

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "date"}


@dataclass(frozen=True)
class TimestampType(FieldType):
    """A moment: ISO 8601 with an offset, or with `Z`."""

    name = "timestamp"
    column = "timestamp with time zone"
    bound = f"text::{column}"  # as with days
    foreign_words = TIME_WORDS
    graphql = "DateTime"

    def stored(self, value: Any) -> str:
        if isinstance(value, str) and _OFFSET.fullmatch(value):
            try:
                return datetime.fromisoformat(value).astimezone(UTC).isoformat()
            except (ValueError, OverflowError):
                pass
        raise NotOfType("must be a moment in ISO 8601 with an offset or Z, like 2025-03-04T08:15:30Z")

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "date-time"}


@dataclass(frozen=True)
class TimeType(FieldType):
    """A time of day without a zone, `HH:MM` or `HH:MM:SS`."""

    name = "time"
    column = "time without time zone"
    foreign_words = "now|allballs|24:"
    graphql = "Time"

    def stored(self, value: Any) -> str:
        text = self.operand(value).isoformat()
        return text.rstrip("0") if "." in text else text

    def operand(self, value: Any) -> time:
        if isinstance(value, str) and _TIME.fullmatch(value):
            try:
                return time.fromisoformat(value)
            except ValueError:
                pass
        raise NotOfType("must be a time of day, HH:MM or HH:MM:SS")

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "pattern": r"^([01][0-9]|2[0-3]):[0-5][0-9](:[0-5][0-9](\.[0-9]{1,6})?)?$"}


@dataclass(frozen=True)
class DurationType(FieldType):
    """A stretch of time in ISO 8601, `P1DT2H30M`. Months, days and seconds are three things, as in PostgreSQL.

    Compared, a day has 24 hours and a month 30 days. Connections print intervals in ISO 8601 (see the settings of
    `infra.postgres.database`), so that the one spelling of a stored value is PostgreSQL's own.
    """

    name = "duration"
    column = "interval"
    bound = "text::interval"
    graphql = "Duration"

    def stored(self, value: Any) -> str:
        match = _DURATION.fullmatch(value) if isinstance(value, str) else None
        if match is None:
            raise NotOfType("must be a duration in ISO 8601, like P1DT2H30M")
        sign = -1 if match["sign"] else 1
        part = {name: sign * Decimal(match[name] or 0) for name in match.groupdict() if name != "sign"}
        months = int(part["years"] * 12 + part["months"])
        days = int(part["weeks"] * 7 + part["days"])
        micros = int((part["hours"] * 3600 + part["minutes"] * 60 + part["seconds"]) * 1_000_000)
        if abs(months) > YEARS_MAX * 12 or abs(days) > DAYS_MAX or abs(micros) > HOURS_MAX * 3_600_000_000:
            raise NotOfType(f"must be at most {YEARS_MAX} years, {DAYS_MAX} days and {HOURS_MAX} hours long")
        return _duration(months, days, micros)

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "format": "duration"}


def _duration(months: int, days: int, micros: int) -> str:
    """As PostgreSQL prints it."""
    years, months = _divided(months, 12)
    seconds, micros = _divided(micros, 1_000_000)
    hours, seconds = _divided(seconds, 3600)
    minutes, seconds = _divided(seconds, 60)
    calendar = "".join(f"{n}{unit}" for n, unit in ((years, "Y"), (months, "M"), (days, "D")) if n)
    clock = "".join(f"{n}{unit}" for n, unit in ((hours, "H"), (minutes, "M")) if n)
    if seconds or micros:
        sign = "-" if min(seconds, micros) < 0 else ""
        fraction = f".{abs(micros):06}".rstrip("0") if micros else ""
        clock += f"{sign}{abs(seconds)}{fraction}S"
    return f"P{calendar}{f'T{clock}' if clock else ''}" if calendar or clock else "PT0S"


def _divided(number: int, by: int) -> tuple[int, int]:
    """Divided towards zero: both parts have the sign of the number."""
    whole, rest = divmod(abs(number), by)
    return (whole, rest) if number >= 0 else (-whole, -rest)
