"""The policies of an entity, as a manifest declares them; what they come to is in `domain.records.policies`.

    {"name": "own", "can": ["read", "update"], "where": {"owner_id": {"actor": "id"}}, "hide": ["margin"]}

`can` has the verbs it is for, `where` the rows (all of them without it), `check` what must hold of a row that was
written (the same as `where` without it); `hide`, `mask` and `readOnly` name fields. A word that is not known is refused
here in every dialect: a policy that says less than was meant would show more than was meant.
"""

from collections.abc import Collection, Iterator
from typing import Any

from domain.access.permissions import Verb
from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.declared import SYSTEM_FIELDS, Field, Policy
from domain.records.policies import maskable

POLICIES_MAX = 50
KEYS = ("name", "can", "where", "check", "hide", "mask", "readOnly", "description")


def policies_of(entity: Node, fields: Collection[Field], name_of: Any) -> Iterator[Policy]:
    """The declared policies, their conditions not read yet. Raises Invalid with the path of what is wrong."""
    seen: set[str] = set()
    for count, (path, value) in enumerate(entity.values("policies")):
        node = Node(value, path)
        if count >= POLICIES_MAX:
            raise Invalid(entity.path("policies"), f"an entity must have at most {POLICIES_MAX} policies")
        unknown = next((key for key in value if key not in KEYS), None)
        if unknown is not None:
            raise Invalid(
                node.path(unknown[:80]), f"unknown key '{unknown[:80]}' of a policy; there are {', '.join(KEYS)}"
            )
        name = name_of(node, "name")
        if name in seen:
            raise Invalid(node.path("name"), f"{node.path('name')} '{name}' is declared twice")
        seen.add(name)
        policy = Policy(
            name=name,
            path=path,
            verbs=_verbs(node),
            where=node.json("where"),
            check=node.json("check"),
            hidden=_fields(node, "hide", fields),
            masked=_fields(node, "mask", fields),
            read_only=_fields(node, "readOnly", fields),
            description=node.text("description", default=""),
        )
        _refuse_unmaskable(node, policy, fields)
        yield policy


def kept_policies(entity: Node) -> list[dict[str, Any]]:
    """What is kept of them: all that was read."""
    nodes = (Node(value, path) for path, value in entity.values("policies"))
    return [{key: node.json(key) for key in KEYS if node.has(key)} for node in nodes]


def _verbs(node: Node) -> frozenset[Verb]:
    words = node.texts("can")
    if not words or not all(word in set(Verb) for word in words):
        raise Invalid(node.path("can"), f"{node.path('can')} must be a list of {', '.join(Verb)}")
    return frozenset(Verb(word) for word in words)


def _fields(node: Node, key: str, fields: Collection[Field]) -> frozenset[str]:
    named = node.texts(key, default=())
    known = {field.name for field in fields} - set(SYSTEM_FIELDS)
    for name in named:
        if name not in known:
            raise Invalid(node.path(key), f"{node.path(key)} '{name[:80]}' is not one of the fields")
    return frozenset(named)


def _refuse_unmaskable(node: Node, policy: Policy, fields: Collection[Field]) -> None:
    both = policy.hidden & policy.masked
    if both:
        raise Invalid(node.path("mask"), f"{node.path('mask')} '{min(both)}' is hidden already")
    for field in fields:
        if field.name in policy.masked and not maskable(field):
            told = f"{node.path('mask')}: only text is shown in part, and '{field.name}' is {field.type.name}; hide it"
            raise Invalid(node.path("mask"), told)
