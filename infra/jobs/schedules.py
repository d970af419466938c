"""Reading schedules, as Debian's cron does where clocks change."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from domain.apps.manifest import is_schedule
from domain.kernel.errors import Invalid

_SECONDS = re.compile(r"([0-9]+) seconds")
_DAY = 2  # which of the five fields is the day of the month


class CronSchedules:
    """See `domain.crons.ports.Schedules`."""

    def next_after(self, schedule: str, timezone: str | None, after: datetime) -> datetime | None:
        """When it is due next."""
        if not is_schedule(schedule):
            raise Invalid(
                "schedule", "schedule must be five fields of digits and * / , - $, or `N seconds` with N 1 to 59"
            )
        zone = _zone(timezone)
        seconds = _SECONDS.fullmatch(schedule)
        if seconds:
            return after + timedelta(seconds=int(seconds[1]))
        fields = schedule.split()
        fields[_DAY] = fields[_DAY].replace("$", "L")
        try:
            moments = CronSim(" ".join(fields), after.astimezone(zone))
        except CronSimError as problem:
            raise Invalid("schedule", f"schedule '{schedule[:80]}' is none: {str(problem).lower()}") from None
        # In the hour that a clock goes through twice, the first ones are of its first time, which may be over.
        due: datetime | None = next((moment for moment in moments if moment > after), None)
        return None if due is None else due.astimezone(UTC)


def _zone(name: str | None) -> tzinfo:
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        pass
    raise Invalid("timezone", f"timezone '{name[:80]}' is not known: it must be a name like Europe/Paris")
