"""Values that are no plain column: computed of the row, or of other records, by PostgreSQL.

A formula that is the same whenever it is computed is a generated column: it can be indexed, and costs nothing to read.
Any other one, and what is looked up in or summed over other records, is an expression in each statement that reads it.
What is looked up or summed is part of the record: whoever may read the record sees it.
"""

from dataclasses import dataclass, replace
from typing import Protocol

from domain.records.naming import bounded, quoted

ROW_MARK = "\x00"  # in a formula's SQL, before each column of the row


class Computed(Protocol):
    """Where a value comes from that isn't simply a column."""

    @property
    def stored(self) -> bool:
        """Whether the table has a column for it."""
        ...

    @property
    def written(self) -> bool:
        """Whether a record's writer sets it all the same."""
        ...

    def placed(self, schema_name: str) -> "Computed":
        """The same for tables in that schema."""
        ...

    def value(self, alias: str) -> str:
        """SQL of the value for the row `alias`, where no column has it."""
        ...


@dataclass(frozen=True, slots=True)
class Formula:
    """An expression over the row's columns, each with `ROW_MARK` before it; its value is cast to the field's type."""

    expression: str
    column: str
    stored: bool
    written: bool = False

    def placed(self, schema_name: str) -> "Formula":
        """It speaks of no other table."""
        return self

    def value(self, alias: str) -> str:
        """The expression over the row."""
        return f"CAST(({self.expression.replace(ROW_MARK, f'{alias}.')}) AS {self.column})"

    @property
    def generated(self) -> str:
        """The expression of a generated column."""
        return f"CAST(({self.expression.replace(ROW_MARK, '')}) AS {self.column})"


@dataclass(frozen=True, slots=True)
class Lookup:
    """A field of the record that a link field of the row leads to."""

    link: str
    entity: str
    field: str
    schema_name: str = ""
    stored: bool = False
    written: bool = False

    def placed(self, schema_name: str) -> "Lookup":
        """Of a record in that schema."""
        return replace(self, schema_name=schema_name)

    def value(self, alias: str) -> str:
        """The linked record's value."""
        other, table = f"{alias}v", f"{quoted(self.schema_name)}.{quoted(self.entity)}"
        return (
            f"(SELECT {other}.{quoted(self.field)} FROM {table} {other} WHERE {other}.id = {alias}.{quoted(self.link)})"
        )


@dataclass(frozen=True, slots=True)
class Rollup:
    """Something of the records of another entity whose link field leads to the row; of those that meet `where`."""

    entity: str
    link: str
    function: str  # count, sum, avg, min, max
    field: str | None
    column: str  # the PostgreSQL type of the value
    where: str | None
    schema_name: str = ""
    stored: bool = False
    written: bool = False

    def placed(self, schema_name: str) -> "Rollup":
        """Of records in that schema."""
        return replace(self, schema_name=schema_name)

    def value(self, alias: str) -> str:
        """The function over those records; of none of them, 0 where it counts or sums."""
        other, table = f"{alias}v", f"{quoted(self.schema_name)}.{quoted(self.entity)}"
        of = "*" if self.field is None else f"{other}.{quoted(self.field)}"
        value = f"CAST({self.function}({of}) AS {self.column})"
        if self.function == "sum":
            value = f"coalesce({value}, CAST('0' AS {self.column}))"
        met = "" if self.where is None else f" AND ({self.where.replace(ROW_MARK, f'{other}.')})"
        return f"(SELECT {value} FROM {table} {other} WHERE {other}.{quoted(self.link)} = {alias}.id{met})"


@dataclass(frozen=True, slots=True)
class Links:
    """The ids of the records of another entity that the row is linked with, in a table of their own.

    `name` is the table's: no entity can be called so.
    """

    name: str
    entity: str
    schema_name: str = ""
    stored: bool = False
    written: bool = True

    @property
    def table(self) -> str:
        """The quoted name of the table."""
        return f"{quoted(self.schema_name)}.{quoted(self.name)}"

    def placed(self, schema_name: str) -> "Links":
        """The table in that schema."""
        return replace(self, schema_name=schema_name)

    def value(self, alias: str) -> str:
        """The ids in their order."""
        other = f"{alias}v"
        return (
            f"ARRAY(SELECT {other}.target_id FROM {self.table} {other} "
            f"WHERE {other}.source_id = {alias}.id ORDER BY {other}.position)"
        )


def links_name(entity: str, field: str) -> str:
    """The name of the table that has the links of a field."""
    return bounded(f"{entity}.{field}")
