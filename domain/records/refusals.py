"""What PostgreSQL refuses about records, in the words of the declaration. SQL is never shown."""

from collections.abc import Awaitable
from typing import TypeVar

from domain.kernel.errors import Conflict, Denied, DomainError, Invalid, Unavailable
from domain.kernel.unit import FOREIGN_KEY_STATES, UNIQUE_STATE, StatementRefused
from domain.records.declared import AppSchema, ObjectType
from domain.records.plan import wanted_marks
from domain.records.policies import POLICY

NOWHERE = "foreign key constraint violated: '{field}' links to a record that is not there"
RESTRICT_STATE = "23001"
POLICY_STATE = "SR001"  # raised by stoa.refused_record
SCHEMA_CHANGED_STATES = ("42703", "42P01", "3F000", "42804", "42883", "0A000")


T = TypeVar("T")


class DeclarationChanged(Unavailable):
    """The declaration changed between being looked up and being used; the same request again finds the new one."""


def record_refusal(schema: AppSchema, entity: ObjectType, refused: StatementRefused) -> Exception:
    """The refusal a caller may see, or `refused` itself when it is a fault of ours."""
    state = refused.sqlstate
    if state == POLICY_STATE and refused.constraint == POLICY:
        return outside(entity)
    if state == POLICY_STATE:
        return Conflict(NOWHERE.format(field=refused.constraint), field=refused.constraint)
    field = _field_of(schema, entity, refused.constraint)
    if state in FOREIGN_KEY_STATES:
        return _foreign_key(entity, field, refused)
    if state == "23502":
        if refused.table != entity.name:  # a link that is cleared with what it led to, and may not be empty
            return _foreign_key(entity, None, refused)
        return Invalid(refused.column, f"field '{refused.column}' is required")
    if state == UNIQUE_STATE:
        return Conflict(f"a record with this {field or 'key'} exists already", field=field)
    if state == "23514" and field is None:
        return Invalid(None, f"the record breaks the rule '{refused.constraint}' of '{entity.name}'")
    if state == "23514":
        return Invalid(field, f"field '{field}' does not hold one of the declared values")
    if state == "54000":
        return Invalid(field, f"the value of field '{field}' is too long for its index")
    if state == "22025":
        return Invalid("where", "a pattern must not end with a backslash")
    if state.startswith("22"):
        return Invalid(None, "a value is outside what its field can hold")
    if state in SCHEMA_CHANGED_STATES:
        return DeclarationChanged(f"the declaration of '{entity.name}' has just changed; try again", retry_after_s=1)
    return refused


async def refused_as_declared(schema: AppSchema, entity: ObjectType, asked: Awaitable[T]) -> T:
    """What PostgreSQL answers. Raises what `record_refusal` makes of a refusal."""
    try:
        return await asked
    except StatementRefused as refused:
        raise record_refusal(schema, entity, refused) from refused


def outside(entity: ObjectType) -> Denied:
    """The one wording for a row that no policy of the caller's allows to be written."""
    return Denied(f"your policies of '{entity.name}' do not allow this record to be written so")


def _foreign_key(entity: ObjectType, field: str | None, refused: StatementRefused) -> DomainError:
    if field is not None and refused.table == entity.name and refused.sqlstate != RESTRICT_STATE:
        return Conflict(NOWHERE.format(field=field), field=field)
    return Conflict(f"foreign key constraint violated: records of '{refused.table}' still link to this one")


def _field_of(schema: AppSchema, entity: ObjectType, constraint: str | None) -> str | None:
    """The field that a constraint or index of the entity is about."""
    if constraint == f"{entity.name}_pkey":
        return "id"
    wanted = wanted_marks(schema, entity).get(constraint or "")
    return None if wanted is None else wanted.column
