"""What the fields of a typed schema mean: found in their `extensions` by whoever compiles an operation."""

from dataclasses import dataclass

from domain.access.permissions import Verb
from domain.records.declared import Field
from graph.typed.names import Relation


@dataclass(frozen=True, slots=True)
class Reads:
    """What a field of the schema means; it is in the field's `extensions` under `reads`."""

    kind: str  # list, one, unique, value, relation, nodes, edges, node, cursor, placing, pageInfo, total, info
    entity: str = ""
    field: Field | None = None
    relation: Relation | None = None
    key: tuple[Field, ...] = ()  # of a look-up by them


@dataclass(frozen=True, slots=True)
class Writes:
    """What a root field of mutations does; it is in the field's `extensions` under `writes`."""

    verb: Verb
    entity: str
    many: bool = False
    upsert: bool = False
    key: tuple[Field, ...] = ()  # that finds the record, where its id doesn't


@dataclass(frozen=True, slots=True)
class Follows:
    """What a root field of subscriptions tells of; it is in the field's `extensions` under `follows`."""

    entity: str
    live: bool
