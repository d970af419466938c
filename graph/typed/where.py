"""Conditions as the typed schema spells them: by GraphQL names, through relations, their operands now or later."""

from typing import Any

from domain.kernel.errors import Invalid
from domain.records.declared import Field, ObjectType
from domain.records.later import Gathered, Later, TracedLeaf, TracedList, plain, scattered
from domain.records.query import All, Condition, Linked, Linking, Not, Op
from domain.records.spelling.native import NativeReader
from domain.records.spelling.reader import LIST_MAX
from domain.records.types import NotOfType
from graph.typed.names import Relation
from graph.typed.schema import TypedSchema

QUANTIFIERS = ("some", "none", "every")


def listed(value: Any) -> list[Any]:
    """GraphQL takes a lone value for a list of one; null is for none."""
    return [] if value is None else value if isinstance(value, list) else [value]


class TypedReader(NativeReader):
    """Reads a `where` whose values may be traced. What it reads must have been coerced before."""

    def __init__(self, schema: TypedSchema, type: ObjectType, path: str = "where") -> None:
        super().__init__(type, path)
        self._schema = schema
        self._names = schema.names.of(type.name)

    def _entry(self, key: str, value: Any, path: str, depth: int) -> Condition:
        if value is None and key not in self._names.fields:
            return All()
        relation = self._names.relations.get(key)
        if relation is not None:
            return self._relation(relation, value, path, depth)
        return super()._entry(self._names.fields.get(key, key), value, path, depth)

    def _relation(self, relation: Relation, value: Any, path: str, depth: int) -> Condition:
        reader = TypedReader(self._schema, self._schema.app.types[relation.entity], path)
        self.count()
        reader._tests = self._tests
        try:
            forward = relation.crossing and not relation.back
            if not relation.several:
                return Linked(relation.link, relation.entity, reader._object(value, path, depth + 1))
            parts: list[Condition] = []
            for quantifier, inner in value.items():
                if inner is None:
                    continue
                met = reader._object(inner, f"{path}.{quantifier}", depth + 1)
                if quantifier == "every":
                    parts.append(Not(Linking(relation.link, relation.entity, Not(met), unknown=True, forward=forward)))
                else:
                    there = Linking(relation.link, relation.entity, met, forward=forward)
                    parts.append(there if quantifier == "some" else Not(there))
            return All(parts)
        finally:
            self._tests = reader._tests

    def field(self, field: Field, value: Any, path: str) -> Condition:
        if value is None:
            return All()
        return super().field(field, value, path)

    def test(self, field: Field, op: Op, value: Any, path: str) -> Condition:
        if value is None and op not in (Op.EQ, Op.NE):
            return All()
        return super().test(field, op, value, path)

    def reading(self, field: Field, op: Op) -> Any:
        """As everywhere; a lone value may stand for a list of one."""
        read = super().reading(field, op)
        return read if field.type.element is field.type else lambda value: read(listed(value))

    def flag(self, value: Any, path: str) -> bool:
        return super().flag(plain(value), path)

    def _list(self, value: Any, path: str, depth: int) -> Any:
        if value is None:
            return ()
        return super()._list(listed(value), path, depth)

    def operands(self, value: Any, path: str, read: Any) -> Any:
        """As everywhere; a lone value may stand for a list of one."""
        if isinstance(value, TracedLeaf):
            return self.operand(value, path, lambda part: [read(part)])
        if not isinstance(value, TracedList):
            operands = super().operands(listed(value), path, read)
            return Gathered(tuple(operands)) if any(isinstance(part, Later) for part in operands) else operands

        def read_all(values: Any) -> list[Any]:
            if len(values) > LIST_MAX:
                raise NotOfType(f"must have at most {LIST_MAX} elements")
            return [read(part) for part in values]

        return self.operand(value, path, read_all)

    def operand(self, value: Any, path: str, read: Any) -> Any:
        if scattered(value):
            raise Invalid(path, f"{path} must be written out, or be a variable as a whole")
        return super().operand(value, path, read)
