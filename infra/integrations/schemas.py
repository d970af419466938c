"""JSON Schema, by the `jsonschema` package. Nothing is fetched: a schema is whole, or what it lacks is no rule."""

from collections.abc import Mapping
from typing import Any

from domain.integrations.ports import Problem

MESSAGE_CHARS_MAX = 300


class JsonSchemas:
    """See `domain.integrations.ports.Schemas`."""

    def problem(self, schema: Mapping[str, Any], value: Any) -> Problem | None:
        """What is wrong with a value first of all."""
        if not schema:
            return None
        from jsonschema import Draft202012Validator  # takes 60 ms, which a start that needs none of it saves
        from jsonschema.exceptions import SchemaError, best_match
        from referencing import Registry
        from referencing.exceptions import Unresolvable

        try:
            Draft202012Validator.check_schema(schema)
            found = best_match(Draft202012Validator(schema, registry=Registry()).iter_errors(value))
        except (SchemaError, Unresolvable, RecursionError):
            return None
        if found is None:
            return None
        path = [str(step) for step in found.absolute_path]
        if found.validator == "required" and isinstance(found.instance, dict):
            missing = [name for name in found.validator_value if name not in found.instance]
            return Problem(".".join([*path, *missing[:1]]), "is required")
        return Problem(".".join(path), found.message[:MESSAGE_CHARS_MAX])
