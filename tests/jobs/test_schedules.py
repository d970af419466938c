"""When crons are due."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from domain.kernel.errors import Invalid
from infra.jobs.schedules import CronSchedules

NEXT = CronSchedules().next_after


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("schedule", "timezone", "after", "due"),
    [
        ("15 2 * * *", None, "2025-03-04T08:15", "2025-03-05T02:15"),
        ("*/20 * * * *", None, "2025-03-04T08:20", "2025-03-04T08:40"),
        ("0 9-17/4 * * 1,3", None, "2025-03-04T08:00", "2025-03-05T09:00"),
        ("0 0 $ * *", None, "2024-02-03T00:00", "2024-02-29T00:00"),
        ("0 0 29 2 *", None, "2025-01-01T00:00", "2028-02-29T00:00"),
        ("0 8 * * *", "America/New_York", "2025-01-15T00:00", "2025-01-15T13:00"),
        ("0 8 * * *", "America/New_York", "2025-07-15T00:00", "2025-07-15T12:00"),
        ("0 8 * * *", "Asia/Kolkata", "2025-07-15T03:00", "2025-07-16T02:30"),
        # The night clocks go forward in Paris there is no 2:30: it is due when it would have been.
        ("30 2 * * *", "Europe/Paris", "2025-03-29T12:00", "2025-03-30T01:00"),
        # The night they go back, there are two of them, and it is due at the first only.
        ("30 2 * * *", "Europe/Paris", "2025-10-25T12:00", "2025-10-26T00:30"),
        ("30 2 * * *", "Europe/Paris", "2025-10-26T00:30", "2025-10-27T01:30"),
        ("30 2 * * *", "Europe/Paris", "2025-10-26T01:15", "2025-10-27T01:30"),
        ("30 seconds", None, "2025-03-04T08:15", "2025-03-04T08:15:30"),
    ],
)
def test_due(schedule: str, timezone: str | None, after: str, due: str) -> None:
    assert NEXT(schedule, timezone, at(after)) == at(due)


@pytest.mark.parametrize(
    ("schedule", "timezone", "field"),
    [
        ("@daily", None, "schedule"),
        ("0 8 * * MON", None, "schedule"),
        ("0 8 * *", None, "schedule"),
        ("0 0 0 1 1 *", None, "schedule"),
        ("60 seconds", None, "schedule"),
        ("1 second", None, "schedule"),
        ("60 * * * *", None, "schedule"),
        ("* 24 * * *", None, "schedule"),
        ("0 0 31 4 *", None, "schedule"),
        ("$ 0 * * *", None, "schedule"),
        ("*/0 * * * *", None, "schedule"),
        ("5-1 * * * *", None, "schedule"),
        ("* * * * *", "Nowhere", "timezone"),
        ("* * * * *", "", "timezone"),
        ("* * * * *", "Europe", "timezone"),
        ("* * * * *", "../etc/passwd", "timezone"),
        ("* * * * *", "/etc/passwd", "timezone"),
        ("* * * * *", "a\0b", "timezone"),
    ],
)
def test_none(schedule: str, timezone: str | None, field: str) -> None:
    with pytest.raises(Invalid) as refused:
        NEXT(schedule, timezone, at("2025-03-04T08:15"))
    assert refused.value.field == field


@pytest.mark.parametrize("timezone", [None, "Europe/Paris", "Australia/Lord_Howe", "America/New_York"])
def test_each_time_is_later_than_the_one_before(timezone: str | None) -> None:
    for schedule in ("*/17 * * * *", "30 2 * * *", "0 */3 * * 0"):
        due = [at("2025-03-28T00:00")]
        while len(due) < 400 and due[-1] < at("2025-11-10T00:00"):
            after = NEXT(schedule, timezone, due[-1])
            assert after is not None
            due.append(after)
        assert all(one < other for one, other in pairwise(due))
        assert max(other - one for one, other in pairwise(due[1:])) <= timedelta(days=7, hours=1)
