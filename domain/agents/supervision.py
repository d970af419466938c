"""Whether a call of a tool may be made at once (RootCX agent protocol, "supervision")."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from domain.agents.definition import ANY, Mode, Policy, Supervision

_ACTIONS = {"query_data": "query", "mutate_data": "mutate"}


def needs_approval(supervision: Supervision | None, tool: str, args: Any) -> str | None:
    """Why this call takes somebody's approval; None for one that is free."""
    if supervision is None or supervision.mode is Mode.AUTONOMOUS:
        return None
    if supervision.mode is Mode.STRICT:
        return "every call of a tool takes an approval"
    for policy in supervision.policies:
        if policy.needs_approval and _matches(policy, tool, args):
            what = tool if policy.entity == ANY else f"{tool} of {policy.entity}"
            return f"{what} takes an approval"
    return None


def _matches(policy: Policy, tool: str, args: Any) -> bool:
    entity = args.get("entity") if isinstance(args, dict) else None
    return policy.action in (ANY, _ACTIONS.get(tool, tool)) and policy.entity in (ANY, entity)


@dataclass(slots=True)
class Pace:
    """How often each tool was called within one run."""

    policies: Sequence[Policy]
    _calls: dict[str, list[float]] = field(default_factory=dict)

    def too_fast(self, tool: str, args: Any) -> str | None:
        """Count a call. Why it comes too early, then uncounted; None for one that is in time."""
        now = monotonic()
        calls = self._calls.setdefault(tool, [])
        for policy in self.policies:
            limit = policy.rate_limit
            if limit is None or not _matches(policy, tool, args):
                continue
            recent = [at for at in calls if now - at < limit.within_s]
            if len(recent) >= limit.most:
                return f"rate limited: retry after {max(1, round(recent[-limit.most] + limit.within_s - now))}s"
        calls.append(now)
        return None
