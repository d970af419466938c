"""What PostgreSQL refuses about records, in the words of the declaration. SQL is never shown."""

from domain.kernel.errors import Conflict, DomainError, Invalid
from domain.kernel.unit import FOREIGN_KEY_STATES, UNIQUE_STATE, StatementRefused
from domain.records.declared import AppSchema, ObjectType
from domain.records.naming import bounded

SCHEMA_CHANGED_STATES = ("42703", "42P01", "3F000", "42804", "0A000")


def record_refusal(schema: AppSchema, entity: ObjectType, refused: StatementRefused) -> Exception:
    """The refusal a caller may see, or `refused` itself when it is a fault of ours."""
    state = refused.sqlstate
    if state in FOREIGN_KEY_STATES:
        return _foreign_key(schema, entity, refused)
    if state == "23502":
        return Invalid(refused.column, f"field '{refused.column}' is required")
    if state == UNIQUE_STATE:
        field = _field_of(schema, entity, refused.constraint, "uq")
        return Conflict(f"a record with this {field or 'key'} exists already", field=field)
    if state == "23514":
        field = _field_of(schema, entity, refused.constraint, "chk")
        return Invalid(field, f"field '{field}' does not hold one of the declared values") if field else Invalid(
            None, f"the record breaks the rule '{refused.constraint}' of '{entity.name}'"
        )  # fmt: skip
    if state.startswith("22"):
        return Invalid(None, "a value is outside what its field can hold")
    if state == "54000":
        return Invalid(None, "a value is too large for an index of its field")
    if state in SCHEMA_CHANGED_STATES:
        return Conflict(f"the declaration of '{entity.name}' has just changed; try again", retry_after_s=1)
    return refused


def _foreign_key(schema: AppSchema, entity: ObjectType, refused: StatementRefused) -> DomainError:
    field = _field_of(schema, entity, refused.constraint, "fk")
    if field is not None and refused.table == entity.name:
        return Conflict(f"foreign key constraint violated: '{field}' links to a record that is not there", field=field)
    return Conflict(f"foreign key constraint violated: records of '{refused.table}' still link to this one")


def _field_of(schema: AppSchema, entity: ObjectType, constraint: str | None, kind: str) -> str | None:
    for declared in entity.fields:
        target = declared.link.target.replace(":", "_") if declared.link else ""
        names = {
            "fk": f"fk_{schema.app_id}_{entity.name}_{declared.name}_{target}",
            "chk": f"chk_{entity.name}_{declared.name}",
            "uq": f"uq_{entity.name}_{declared.name}",
        }
        if bounded(names[kind]) == constraint:
            return declared.name
    return None
