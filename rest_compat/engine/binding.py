"""From a request to an operation's variables, and from what is wrong with those back to the caller's words."""

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from rest_compat.engine.call import FORMS, JSON, Call, Form, Texts, Upload, is_json
from rest_compat.engine.errors import INVALID, Refusal, invalid, together
from rest_compat.engine.reading import Steps, cased, is_list, is_nested, part_name, unknown
from rest_compat.engine.slots import ANYTHING, IN_BODY, Filled, Slot, Wanted, default_of, problems
from rest_compat.engine.system import Extra, System
from rest_compat.engine.wording import expected, sentence

Found = tuple[str, Any]
"""The name under which a value was found, and the value."""

_ABSENT = object()


@dataclass(frozen=True)
class Binding:
    """All that an operation wants of a request, and what the server fills itself."""

    system: System
    wanted: tuple[Wanted, ...]
    fills: tuple[Filled, ...]
    path_parameters: tuple[str, ...]
    arguments: Mapping[Steps, str]  # argument of a root field, or part of one -> variable

    def slots(self, *places: str) -> list[Slot]:
        """The slots in one of these places."""
        return [slot for want in self.wanted for slot in want.slots if slot.place in places]

    @cached_property
    def parameters(self) -> "_Names":
        """What is known in the query."""
        return _Names(self.slots("QUERY"))

    @cached_property
    def form_fields(self) -> "_Names":
        """What is known in a form, files and all."""
        return _Names(self.slots("FORM", "FILE"))

    @cached_property
    def field_names(self) -> frozenset[str]:
        """All names of the body's own fields; empty for the whole body."""
        return frozenset(name for slot in self.slots("BODY") for name in slot.names)

    @cached_property
    def body_places(self) -> frozenset[str]:
        """The kinds of body that are looked into."""
        return frozenset(slot.place for slot in self.slots(*IN_BODY))

    @property
    def takes_files(self) -> bool:
        """Whether a file may come with the request."""
        return not self.body_places.isdisjoint({"FILE", "RAW"})

    @cached_property
    def needs_body(self) -> bool:
        """Whether an empty body is none."""
        return any(want.required and any(slot.whole_body for slot in want.slots) for want in self.wanted)

    @cached_property
    def by_address(self) -> bool:
        """Whether the variables depend on nothing but the address."""
        return not self.fills and all(slot.place in ("PATH", "QUERY") for want in self.wanted for slot in want.slots)

    async def bind(self, call: Call, fill: Callable[[str], Any]) -> "Bound":
        """The variables. Raises Refusal with the name of the value, as the caller knows it."""
        bound = Bound(self)
        source = _Source(self, call)
        await source.read_body()
        wrong = list(source.unknown())
        for want in self.wanted:
            try:
                if want.takes_file:
                    await source.read_file()
                found = source.find(want, wrong)
            except Refusal as refusal:
                if refusal.code != INVALID:
                    raise
                wrong.append(refusal)
                continue
            if found is not None:
                bound.put(want, *found)
            elif want.required:
                wrong.append(_missing(want))
        if wrong:
            raise together([*wrong, *bound.ill_typed(wrong)])
        for filled in self.fills:
            bound.fill(filled, fill(filled.fill))
        return bound


class _Names:
    """The names that slots have, and the names of parts `name[a]` of those that may have parts."""

    def __init__(self, slots: Iterable[Slot]) -> None:
        self._known = frozenset(name for slot in slots for name in slot.names)
        self._nested = frozenset(name for slot in slots if is_nested(slot.type) for name in slot.names)

    def __contains__(self, name: str) -> bool:
        return name in self._known or ("[" in name and name.partition("[")[0] in self._nested)

    def unknown(self, what: str, given: Iterable[str]) -> Iterator[Refusal]:
        """Those of the given names that nobody asked for; none where any name will do."""
        if ANYTHING not in self._known:
            yield from (unknown(what, name) for name in dict.fromkeys(given) if name not in self)


def _missing(want: Wanted) -> Refusal:
    if want.name == ANYTHING:
        return invalid(None, "a file is required")
    return invalid(want.name or None, f"{want.name or 'the body'} is required")


class _Source:
    """Where the values of one request are looked for."""

    def __init__(self, binding: Binding, call: Call) -> None:
        self._binding = binding
        self._call = call
        self._path = dict(zip(binding.path_parameters, call.path_values, strict=True))
        self._form: Form | None = None
        self._body: Any = _ABSENT  # as JSON
        self._upload: Upload | None = None  # the body itself

    async def read_body(self) -> None:
        """Read the body as JSON or as a form, whichever is wanted and came; a raw one waits for who takes it."""
        call, places = self._call, self._binding.body_places
        if "BODY" in places and (len(places) == 1 or is_json(call.media_type or JSON)):
            self._body = await call.json(optional=not self._binding.needs_body)
            if "" not in self._binding.field_names and not isinstance(self._body, dict):
                raise invalid(None, "the body must be a JSON object")
        elif ("FORM" in places and "FILE" not in places) or (places & {"FORM", "FILE"} and call.media_type in FORMS):
            self._form = await call.form()

    def unknown(self) -> Iterator[Refusal]:
        """Parameters and fields nobody asked for, in a dialect that tells."""
        binding, system = self._binding, self._binding.system
        if system.unknown_parameters is Extra.REFUSE:
            yield from binding.parameters.unknown("parameter", self._call.query)
        if system.unknown_fields is Extra.REFUSE and self._form is not None:
            yield from binding.form_fields.unknown("field", (*self._form.texts, *self._form.files))
        if system.unknown_fields is Extra.REFUSE and isinstance(self._body, dict) and "" not in binding.field_names:
            yield from (unknown("field", name) for name in self._body if name not in binding.field_names)

    async def read_file(self) -> None:
        """Begin with a body that is a file."""
        if self._form is None and self._body is _ABSENT and self._upload is None:
            self._upload = await self._call.raw()

    def find(self, want: Wanted, wrong: list[Refusal]) -> Found | None:
        """The value in the first slot that has one. Raises Refusal; what is wrong inside it is added to `wrong`."""
        for slot in want.slots:
            found = self._at(slot, wrong)
            if found is not None:
                return found if slot.takes_all else (found[0], slot.accepted(found[1]))
        return None

    def _at(self, slot: Slot, wrong: list[Refusal]) -> Found | None:
        match slot.place:
            case "PATH":
                return slot.name, slot.text.value([self._path[slot.name]], slot.name)
            case "QUERY":
                return self._rest(slot) if slot.name == ANYTHING else self._text(slot, self._call.query)
            case "BODY":
                return self._json(slot, wrong) if self._body is not _ABSENT else None
            case "HEADER":
                return self._text(slot, {name: self._call.header(name) for name in slot.names})
            case "COOKIE":
                return self._text(slot, {name: self._call.cookie(name) for name in slot.names})
            case "FORM":
                return self._text(slot, self._form.texts) if self._form is not None else None
        if self._form is not None:
            return self._file(slot, self._form)
        name, upload = "" if slot.name == ANYTHING else slot.name, self._upload
        return None if upload is None else (name, [upload] if is_list(slot.type) else upload)

    def _text(self, slot: Slot, texts: Texts) -> Found | None:
        if not texts:
            return None
        if slot.plain:
            found = texts.get(slot.name)
            return (slot.name, slot.text.value(found, slot.name)) if found else None
        given = [name for name in slot.names if texts.get(name)]
        for name in slot.names if slot.nests else ():
            nested = slot.text.nested(texts, name)
            if nested is not None:
                if given:
                    raise invalid(name, f"{name} is given more than once")
                return name, nested
        if not given:
            return None
        _refuse_contradiction(slot, given, texts)
        return given[0], True if slot.flag else slot.text.value(texts[given[0]], given[0])

    def _rest(self, slot: Slot) -> Found | None:
        """All parameters that no other slot takes."""
        rest, known = {}, self._binding.parameters
        for name, texts in self._call.query.items():
            if name in known:
                continue
            if len(texts) > 1 and not slot.text.repeats:
                raise invalid(name, f"{name} is given more than once")
            rest[name] = texts[-1]
        return (slot.name, rest) if rest else None

    def _json(self, slot: Slot, wrong: list[Refusal]) -> Found | None:
        body = self._body
        if slot.whole_body:
            return "", _read(slot, self._left(body), "", wrong)
        given = [name for name in slot.names if name in body] if isinstance(body, dict) else []
        if not given:
            return None
        _refuse_contradiction(slot, given, body)
        name = next((name for name in given if body[name] is not None), given[0])
        return name, _read(slot, body[name], name, wrong)

    def _left(self, body: Any) -> Any:
        """The body without the fields that have slots of their own."""
        if len(self._binding.field_names) == 1 or not isinstance(body, dict):
            return body
        return {name: value for name, value in body.items() if name not in self._binding.field_names}

    @staticmethod
    def _file(slot: Slot, form: Form) -> Found | None:
        names = form.files if slot.name == ANYTHING else slot.names
        found = [(name, upload) for name in names for upload in form.files.get(name, ())]
        if not found:
            return None
        if is_list(slot.type):
            return found[0][0], [upload for _, upload in found]
        if len(found) > 1:
            raise invalid(None if slot.name == ANYTHING else slot.name, "there must be one file, not more")
        return found[0]


def _refuse_contradiction(slot: Slot, given: Sequence[str], values: Mapping[str, Any]) -> None:
    """Raises Refusal where a value is given under two names, and differently, in a dialect that minds."""
    for other in given[1:]:
        if not slot.text.repeats and values[other] != values[given[0]]:
            raise invalid(other, f"{other} is another name of {given[0]}, and says otherwise")


def _read(slot: Slot, value: Any, name: str, wrong: list[Refusal]) -> Any:
    value = cased(slot.text.case, value)
    if isinstance(value, str) and value in slot.text.spellings:
        return slot.text.spellings[value]
    if slot.json is None:
        return value
    inside: list[Refusal] = []
    read = slot.json(value, name, inside)
    if inside and slot.lenient:
        return slot.invalid
    wrong += inside
    return read


@dataclass(slots=True)
class Bound:
    """The variables of one request, and the names their values came under."""

    binding: Binding
    variables: dict[str, Any] = field(default_factory=dict)
    names: dict[tuple[str, Steps], str] = field(default_factory=dict)

    def again(self) -> "Bound":
        """The same for another request, which may do with the variables as it likes."""
        return Bound(self.binding, _copied(self.variables), self.names)

    def put(self, want: Wanted, name: str, value: Any) -> None:
        """A value that was found under that name."""
        self.names[want.variable, want.steps] = name
        if not want.steps:
            self.variables[want.variable] = value
            return
        if want.variable not in self.variables:
            self.variables[want.variable] = default_of(want.definition)
        self._set(want.variable, want.steps, value)

    def fill(self, filled: Filled, value: Any) -> None:
        """A value that the server knows."""
        self._set(filled.variable, filled.steps, value)

    def _set(self, variable: str, steps: Steps, value: Any) -> None:
        self.variables[variable] = _with_part(self.variables.get(variable), steps, value)

    def ill_typed(self, wrong: Sequence[Refusal]) -> list[Refusal]:
        """What is wrong with the values that are there, as far as their types tell, beside what is known."""
        known = [refusal.field or "" for refusal in wrong]
        found = []
        for want in self.binding.wanted:
            if not want.steps and want.variable in self.variables:
                for message, path in problems(self.variables[want.variable], want.type):
                    where = (want.variable, *path)
                    spoken = ".".join(map(str, where))
                    found.append(self.named(Refusal(INVALID, f"{spoken}: {message}", spoken, path=where)))
        return [one for one in found if not any(_holds(one.field or "", name) for name in known)]

    # What went wrong, in the caller's words.

    def named(self, refusal: Refusal) -> Refusal:
        """The refusal, its field by the name the caller gave the value under.

        A message that begins with the name of its value is made to begin with the caller's.
        """
        also = tuple(self.named(other) for other in refusal.also)
        refusal = self._reworded(refusal)
        path = [str(step) for step in refusal.path]
        spoken = ".".join(path) or refusal.field or ""
        name = self._name(path or self._variable_path(spoken.split(".")))
        if name is None:
            return replace(refusal, also=also)
        begins = re.match(rf"{re.escape(spoken)}(?!\w|\.\w)", refusal.message)
        message = (name or "the body") + refusal.message[begins.end() :] if begins else refusal.message
        return replace(refusal, message=message, field=name or None, path=(), also=also)

    def _reworded(self, refusal: Refusal) -> Refusal:
        """The refusal of a value by its type, in words that don't speak of GraphQL."""
        variable, *inside = refusal.path or ("",)
        want = self._about([str(variable), *map(str, inside)])
        if want is None or variable not in self.variables:
            return refusal
        value = self.variables[variable]
        for step in want.steps:
            value = value[step]
        case = want.slots[0].text.case
        spoken = ".".join(map(str, refusal.path))
        words = expected(value, want.type, inside[len(want.steps) :], case) or refusal.message.removeprefix(
            f"{spoken}: "
        )
        return replace(refusal, message=sentence(spoken, words))

    def _variable_path(self, argument: Sequence[str]) -> list[str]:
        """From a path in a root field's arguments to one in the variables; empty where no variable stands there."""
        for length in range(len(argument), 0, -1):
            variable = self.binding.arguments.get(tuple(argument[:length]))
            if variable is not None:
                return [variable, *argument[length:]]
        return []

    def _name(self, path: Sequence[str]) -> str | None:
        """What the caller calls the value at a path in the variables; None where it isn't the caller's."""
        want = self._about(path)
        if want is None:
            return None
        steps = path[1:]
        name = self.names.get((want.variable, want.steps), want.name)
        for step in steps[len(want.steps) :]:
            name = part_name("" if name == ANYTHING else name, step)
        return name

    def _about(self, path: Sequence[str]) -> Wanted | None:
        """What is wanted at a path in the variables, or else around it."""
        steps = tuple(path[1:])
        about = [w for w in self.binding.wanted if [w.variable] == path[:1] and w.steps == steps[: len(w.steps)]]
        return max(about, key=lambda want: len(want.steps), default=None)


def _copied(value: Any) -> Any:
    """JSON of one's own."""
    if isinstance(value, dict):
        return {name: _copied(part) if isinstance(part, dict | list) else part for name, part in value.items()}
    return [_copied(part) for part in value] if isinstance(value, list) else value


def _holds(outer: str, inner: str) -> bool:
    """Whether the value called `inner` is the one called `outer`, or inside it; the body has no name."""
    return not outer or inner == outer or inner.startswith(f"{outer}.")


def _with_part(whole: Any, steps: Steps, value: Any) -> Any:
    """The object with a part put into it. What is no object, and should be, is left for coercion to refuse."""
    if not steps:
        return value
    if whole is not None and not isinstance(whole, dict):
        return whole
    inside = whole or {}
    return {**inside, steps[0]: _with_part(inside.get(steps[0]), steps[1:], value)}
