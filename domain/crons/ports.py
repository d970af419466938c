"""What crons need of the outside: somebody who can read schedules."""

from datetime import datetime
from typing import Protocol


class Schedules(Protocol):
    """Reads schedules: five fields as cron has them (`$` for the last day of the month), or `N seconds`."""

    def next_after(self, schedule: str, timezone: str | None, after: datetime) -> datetime | None:
        """When it is due next, in UTC; None for never.

        `timezone` is an IANA name, UTC without one. Raises Invalid on `schedule` or `timezone`.
        """
        ...
