"""GraphQL names for what an app declares: `deal_contacts` is a list of `DealContact`, its `deal_id` leads to `deal`."""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from domain.records.computed import Links
from domain.records.declared import AppSchema, Field, ObjectType
from domain.records.types import NATIVE_TYPES

_IRREGULAR = {
    "people": "person",
    "children": "child",
    "men": "man",
    "women": "woman",
    "data": "datum",
    "media": "medium",
}
_SAME = frozenset({"series", "species", "news", "status", "address", "process", "business", "access", "analysis"})
_ENDINGS = (
    (re.compile(r"(ss|x|z|ch|sh)es$"), r"\1"),
    (re.compile(r"([^aeiou])ies$"), r"\1y"),
    (re.compile(r"([^s])ses$"), r"\1se"),
    (re.compile(r"([^su])s$"), r"\1"),
)

# Types the schema has beside those of entities, and what is put behind an entity's type for the types around it.
TAKEN = frozenset(
    "Query Mutation Subscription String Int Float Boolean ID JSON JSONObject Date DateTime UUID PageInfo SortOrder"
    " Change User BigInt ChangeKind DateBucket Decimal Money Time Duration GeoPoint"
    " GeoNear GeoWithin VectorNear".split()
) | {make().filter for make in NATIVE_TYPES.values()}
NO_NAMES = frozenset({"true", "false", "null"})  # of an enum's values, which names of fields may be
FILTER = "Filter"  # behind an enum's name
_NAME = re.compile(r"(?!__)[A-Za-z_][A-Za-z0-9_]*")
AROUND = (
    "Connection", "Edge", "Where", "ListWhere", "OrderBy", "Create", "Update", "Key", "Change", "Live", "Placed",
    "Filter", "Field", "Near",
    "GroupKeyOrder", "GroupOrder", "GroupKey", "GroupBy", "Group", "Having", "Aggregate", "Counts", "Sums", "Averages",
    "Extremes", "CountsHaving", "SumsHaving", "AveragesHaving", "ExtremesHaving", "CountsOrder", "SumsOrder",
    "AveragesOrder", "ExtremesOrder",
)  # fmt: skip


def singular(word: str) -> str:
    """`companies` -> `company`; a word that is no plural stays as it is."""
    head, underscore, last = word.rpartition("_")
    if last in _SAME:
        return word
    if last.removesuffix("es") in _SAME:
        return head + underscore + last.removesuffix("es")
    if last in _IRREGULAR:
        return head + underscore + _IRREGULAR[last]
    for ending, replacement in _ENDINGS:
        if ending.search(last):
            return head + underscore + ending.sub(replacement, last)
    return word


def plural(word: str) -> str:
    """`company` -> `companies`."""
    if re.search(r"[^aeiou]y$", word):
        return f"{word[:-1]}ies"
    return f"{word}es" if re.search(r"(s|x|z|ch|sh)$", word) else f"{word}s"


def camel(name: str) -> str:
    """`first_name` -> `firstName`."""
    first, *rest = [part for part in name.split("_") if part]
    return first + "".join(part[:1].upper() + part[1:] for part in rest)


def pascal(name: str) -> str:
    """`deal_contact` -> `DealContact`."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_") if part)


def distinct(names: Mapping[str, str]) -> dict[str, str]:
    """The names, except where two would be one: those keep the name they were declared with."""
    times = Counter(names.values())
    return {raw: name if times[name] == 1 else raw for raw, name in names.items()}


@dataclass(frozen=True)
class Relation:
    """A link as a field: to what it leads to, or (backwards) to those that lead here."""

    name: str
    link: Field
    entity: str  # at the other end
    back: bool

    @property
    def crossing(self) -> bool:
        """Whether there may be several at either end."""
        return isinstance(self.link.computed, Links)

    @property
    def several(self) -> bool:
        """Whether there may be several at the other end."""
        return self.back or self.crossing


@dataclass(frozen=True)
class EntityNames:
    """How one entity is spoken of."""

    type: str  # Contact
    many: str  # contacts
    one: str  # contact
    fields: Mapping[str, str]  # GraphQL name -> field
    relations: Mapping[str, Relation]


class AppNames:
    """The names of one app's schema. Built for an entity when it is first asked for."""

    def __init__(self, schema: AppSchema) -> None:
        self._schema = schema
        self._known: dict[str, EntityNames] = {}

    @cached_property
    def _types(self) -> dict[str, str]:
        """Type name by entity: no two of them, nor any two of the types around them, are called the same."""
        taken, found = set(TAKEN), {}
        for name, type in distinct({name: pascal(singular(name)) for name in self._schema.types}).items():
            while any(type + suffix in taken for suffix in ("", *AROUND)):
                type += "Record" if not type.endswith("Record") else "_"
            taken.update(type + suffix for suffix in ("", *AROUND))
            found[name] = type
        return found

    @cached_property
    def enums(self) -> dict[str, tuple[ObjectType, Field]]:
        """The fields whose values are those of an enum, since each of them can be one's, by the name of the enum."""
        around = {type + suffix for type in self._types.values() for suffix in ("", *AROUND)}
        taken, found = TAKEN | around, {}
        for entity in self._schema.types.values():
            for field in entity.fields:
                if field.options and field.type.element.graphql == "String" and all(map(_may_name, field.options)):
                    name = self._types[entity.name] + pascal(field.name)
                    while any(name + suffix in taken or name + suffix in found for suffix in ("", FILTER)):
                        name += "Choice" if not name.endswith("Choice") else "_"
                    found[name] = entity, field
        return found

    @cached_property
    def _enum_of(self) -> dict[tuple[str, str], str]:
        return {(entity.name, field.name): name for name, (entity, field) in self.enums.items()}

    def enum_of(self, entity: ObjectType, field: Field) -> str | None:
        """The name of the enum that a field's values are of."""
        return self._enum_of.get((entity.name, field.name))

    @cached_property
    def _many(self) -> dict[str, str]:
        return distinct({name: camel(name) for name in self._schema.types})

    @cached_property
    def _ones(self) -> dict[str, str]:
        """The name of one record by entity: that of its type, unless a list is called so."""
        taken, found = set(self._many.values()), {}
        for entity, type in self._types.items():
            name = type[:1].lower() + type[1:]
            while name in taken:
                name += "ById"
            taken.add(name)
            found[entity] = name
        return found

    @cached_property
    def _backwards(self) -> dict[str, list[tuple[ObjectType, Field]]]:
        """The links that lead to each entity."""
        found: dict[str, list[tuple[ObjectType, Field]]] = {}
        for entity in self._schema.types.values():
            for field in entity.fields:
                if field.link is not None:
                    found.setdefault(field.link.target, []).append((entity, field))
                elif isinstance(field.computed, Links):
                    found.setdefault(field.computed.entity, []).append((entity, field))
        return found

    @cached_property
    def entity_of_type(self) -> dict[str, str]:
        """Type name -> entity."""
        return {type: entity for entity, type in self._types.items()}

    def of(self, entity: str) -> EntityNames:
        """The names of one entity."""
        if entity not in self._known:
            self._known[entity] = self._make(self._schema.types[entity])
        return self._known[entity]

    def _make(self, entity: ObjectType) -> EntityNames:
        type = self._types[entity.name]
        many = self._many[entity.name]
        fields: dict[str, str] = {}
        for raw, name in distinct({raw: camel(raw) for raw in entity.columns}).items():
            while name in fields or name in NO_NAMES:
                name += "_"
            fields[name] = raw
        relations: dict[str, Relation] = {}
        for field in entity.fields:
            if field.link is not None and field.link.target in self._schema.types:
                name = self._free(_toward(field.name), fields, relations)
                relations[name] = Relation(name, field, field.link.target, back=False)
            elif isinstance(field.computed, Links):
                name = self._free(_toward_many(field.name, fields), fields, relations)
                relations[name] = Relation(name, field, field.computed.entity, back=False)
        for other, field in self._backwards.get(entity.name, ()):
            name = self._free(self._back_name(entity, other, field), fields, relations)
            relations[name] = Relation(name, field, other.name, back=True)
        return EntityNames(type, many, self._ones[entity.name], fields, relations)

    def _back_name(self, entity: ObjectType, other: ObjectType, field: Field) -> str:
        """`contacts`, or `contactsByManager` where several links of the other entity lead here."""
        links = [link for link in self._backwards[entity.name] if link[0] is other]
        many = self._many[other.name]
        return many if len(links) == 1 else f"{many}By{pascal(_toward(field.name))}"

    @staticmethod
    def _free(name: str, fields: Mapping[str, str], relations: Mapping[str, Relation]) -> str:
        while name in fields or name in relations:
            name += "Record" if not name.endswith("Record") else "_"
        return name


def _may_name(option: str) -> bool:
    """Whether a value may be one of an enum's."""
    return _NAME.fullmatch(option) is not None and option not in NO_NAMES


def _toward_many(links: str, fields: Mapping[str, str]) -> str:
    """`member_ids` -> `members`; `members`, where the ids are called so -> `memberRecords`."""
    name = camel(plural(links.removesuffix("_ids"))) if links.endswith("_ids") else camel(links)
    return name if name not in fields else f"{camel(singular(links))}Records"


def _toward(link: str) -> str:
    """`company_id` -> `company`."""
    return camel(link.removesuffix("_id") or link)
