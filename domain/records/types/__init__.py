"""The field types: one small class each, found in `FIELD_TYPES` by the name a declaration uses."""

from collections.abc import Mapping

from domain.kernel.reading import Node
from domain.records.types.aliases import NATIVE_ALIASES, OBJECTIFY_TYPES, OBJECTOS_TYPES
from domain.records.types.base import FieldType, NotOfType
from domain.records.types.lists import (
    BooleanListType,
    DateListType,
    IntegerListType,
    LinksType,
    ListType,
    MultiEnumType,
    NumberListType,
    TagsType,
    TextListType,
    TimestampListType,
    UuidListType,
)
from domain.records.types.moments import DateType, DurationType, TimestampType, TimeType
from domain.records.types.numbers import AutonumberType, DecimalType, IntegerType, MoneyType, NumberType, PercentType
from domain.records.types.scalars import (
    MASK,
    BooleanType,
    GeoPointType,
    JsonType,
    LinkType,
    SecretType,
    UuidType,
    VectorType,
    degrees_of,
    link_to,
    within_reach,
)
from domain.records.types.texts import (
    ColorType,
    EmailType,
    EnumType,
    FileType,
    ImageType,
    LongTextType,
    PhoneType,
    RichTextType,
    TextType,
    UrlType,
)

__all__ = [
    "FIELD_TYPES",
    "LINK",
    "MASK",
    "NATIVE_ALIASES",
    "NATIVE_TYPES",
    "OBJECTIFY_TYPES",
    "OBJECTOS_TYPES",
    "TEXT",
    "TIMESTAMP",
    "UUID_TYPE",
    "AutonumberType",
    "BooleanType",
    "DateType",
    "DecimalType",
    "DurationType",
    "EnumType",
    "FieldType",
    "GeoPointType",
    "IntegerType",
    "JsonType",
    "LinkType",
    "LinksType",
    "ListType",
    "NotOfType",
    "NumberListType",
    "NumberType",
    "PercentType",
    "SecretType",
    "TextListType",
    "TextType",
    "TimestampType",
    "VectorType",
    "degrees_of",
    "field_type",
    "link_to",
    "native_type",
    "within_reach",
]

TEXT = TextType()
TIMESTAMP = TimestampType()
UUID_TYPE = UuidType()
LINK = link_to(UUID_TYPE)

# The types of RootCX's manifests.
FIELD_TYPES: dict[str, FieldType] = {
    type.name: type
    for type in (
        TEXT,
        FileType(),
        NumberType(),
        BooleanType(),
        DateType(),
        TIMESTAMP,
        JsonType(),
        UUID_TYPE,
        LINK,
        TextListType(),
        NumberListType(),
    )
}


def field_type(name: str) -> FieldType:
    """RootCX's type of that name; a name nobody knows is text (RootCX manifest, types)."""
    return FIELD_TYPES.get(name, TEXT)


# All of them, by the names of Stoa's own declarations. Links are made by who knows where they lead.
NATIVE_TYPES: Mapping[str, type[FieldType]] = {
    type.name: type
    for type in (
        TextType,
        LongTextType,
        RichTextType,
        EmailType,
        UrlType,
        PhoneType,
        ColorType,
        EnumType,
        FileType,
        ImageType,
        NumberType,
        IntegerType,
        AutonumberType,
        DecimalType,
        PercentType,
        MoneyType,
        BooleanType,
        DateType,
        TimeType,
        TimestampType,
        DurationType,
        JsonType,
        UuidType,
        GeoPointType,
        VectorType,
        SecretType,
        TextListType,
        NumberListType,
        IntegerListType,
        BooleanListType,
        DateListType,
        TimestampListType,
        UuidListType,
        TagsType,
        MultiEnumType,
    )
}


def native_type(name: str, node: Node) -> FieldType | None:
    """The type of a field's declaration in Stoa's own spelling, with its parameters. Raises Invalid."""
    found = NATIVE_TYPES.get(NATIVE_ALIASES.get(name, name))
    return None if found is None else found.declared(node)
