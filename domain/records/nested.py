"""Storing records together with those they link to and those that link to them, all of them or none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from domain.kernel.ctx import Ctx
from domain.kernel.errors import TooComplex
from domain.records import service
from domain.records.opening import Opened
from domain.records.sql import ROW

RECORDS_MAX = 1000  # of one tree, or of several stored together
DEPTH_MAX = 6


@dataclass(slots=True)
class Tree:
    """A record to store: its row in stored form, and the records around it.

    `above` are those its link fields will lead to, by field; `below` those whose link field (the first of each pair)
    will lead to it.
    """

    at: Opened
    row: dict[str, Any]
    above: dict[str, "Tree"] = field(default_factory=dict)
    below: list[tuple[str, "Tree"]] = field(default_factory=list)
    id: str = ""


async def store(ctx: Ctx, trees: Sequence[Tree]) -> list[str]:
    """Store the trees and return the ids of their roots, in order.

    Records go in a statement for each kind and level, not one by one. Raises TooComplex, Conflict, Invalid.
    """
    count = sum(map(_size, trees))
    if count > RECORDS_MAX:
        raise TooComplex(f"{count} records are more than can be stored at once ({RECORDS_MAX})", field="values")
    for level in _alike(trees):
        await _store(ctx, level)
    return [tree.id for tree in trees]


async def _store(ctx: Ctx, trees: Sequence[Tree]) -> None:
    """Store trees whose roots are of one entity."""
    above = [(tree, link, other) for tree in trees for link, other in tree.above.items()]
    for level in _alike([other for _, _, other in above]):
        await _store(ctx, level)
    for tree, link, other in above:
        tree.row[link] = other.id
    for rows in _of_one_shape(trees):
        for tree, id in zip(rows, await _inserted(ctx, rows), strict=True):
            tree.id = id
    below = [(tree, link, other) for tree in trees for link, other in tree.below]
    for tree, link, other in below:
        other.row[link] = tree.id
    for level in _alike([other for _, _, other in below]):
        await _store(ctx, level)


async def _inserted(ctx: Ctx, trees: Sequence[Tree]) -> list[str]:
    rows = [tree.row for tree in trees]
    return [str(id) for id in await service.insert_rows(ctx, trees[0].at, rows, lambda params: f"{ROW}.id::text")]


def _alike(trees: Sequence[Tree]) -> list[list[Tree]]:
    """The trees by their entity, in the order these are first met."""
    found: dict[str, list[Tree]] = {}
    for tree in trees:
        found.setdefault(tree.at.entity.name, []).append(tree)
    return list(found.values())


def _of_one_shape(trees: Sequence[Tree]) -> list[list[Tree]]:
    """The trees by the fields they have: what is left out takes its default."""
    found: dict[frozenset[str], list[Tree]] = {}
    for tree in trees:
        found.setdefault(frozenset(tree.row), []).append(tree)
    return list(found.values())


def _size(tree: Tree) -> int:
    around: list[Tree] = [*tree.above.values(), *(other for _, other in tree.below)]
    return 1 + sum(map(_size, around))


def with_links(tree: Tree, more: Sequence[str] = ()) -> Mapping[str, Any]:
    """The row as it will be once the records around it are there: for looking whether something is missing."""
    return {**tree.row, **dict.fromkeys([*tree.above, *more], "")}
