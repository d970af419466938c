"""The spellings there are."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any

from domain.records.declared import ObjectType
from domain.records.query import Condition
from domain.records.spelling.native import NativeReader
from domain.records.spelling.objectify import ObjectifyReader
from domain.records.spelling.objectql import ObjectqlReader
from domain.records.spelling.reader import Reader
from domain.records.spelling.rootcx import RootcxReader


class Dialect(StrEnum):
    """Whose rules a query follows: how `where` is spelled, and what empty and unknown things mean."""

    STOA = "stoa"
    ROOTCX = "rootcx"
    OBJECTQL = "objectql"
    OBJECTIFY = "objectify"


READERS: Mapping[Dialect, type[Reader]] = {
    Dialect.STOA: NativeReader,
    Dialect.ROOTCX: RootcxReader,
    Dialect.OBJECTQL: ObjectqlReader,
    Dialect.OBJECTIFY: ObjectifyReader,
}


def condition_of(where: Any, dialect: Dialect, type: ObjectType) -> Condition:
    """What `where` asks of the records of an entity. Raises Invalid with the path of what is wrong."""
    return READERS[dialect](type).read(where)
