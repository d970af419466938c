"""What an operation wants of a field, before it is resolved."""

from collections.abc import Iterable, Iterator

import strawberry
from strawberry.types.nodes import FragmentSpread, InlineFragment, SelectedField


def selected(info: strawberry.Info) -> set[str]:
    """The names of the fields selected right below the field being resolved, those in fragments too."""
    return {name for field in info.selected_fields for name in _names(field.selections)}


def _names(selections: Iterable[SelectedField | FragmentSpread | InlineFragment]) -> Iterator[str]:
    for selection in selections:
        if isinstance(selection, SelectedField):
            yield selection.name
        else:
            yield from _names(selection.selections)


def selects(info: strawberry.Info, name: str) -> bool:
    """Whether a field of this name is selected anywhere below the field being resolved."""
    return any(name in _names_below(field.selections) for field in info.selected_fields)


def _names_below(selections: Iterable[SelectedField | FragmentSpread | InlineFragment]) -> Iterator[str]:
    for selection in selections:
        yield from _names([selection])
        yield from _names_below(selection.selections)
