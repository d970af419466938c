"""Types whose values are texts."""

import re
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import urlsplit

from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.types.base import EQUALITY, PATTERN, FieldType, NotOfType, json_text
from domain.records.types.html import cleaned

LENGTH_MAX = 1_000_000
EMAIL_CHARS_MAX = 254
LOCAL_PART_CHARS_MAX = 64
URL_CHARS_MAX = 2048

_EMAIL = re.compile(r"([^\s@<>(),;:\"\[\]\\]+)@((?:[a-z0-9](?:-*[a-z0-9])*\.)+[a-z][a-z0-9-]*[a-z0-9])", re.IGNORECASE)
_PHONE_FILLING = re.compile(r"[ .()\-]")
_PHONE = re.compile(r"\+[1-9][0-9]{6,14}")
_COLOR = re.compile(r"#[0-9a-fA-F]{6}")


@dataclass(frozen=True)
class TextType(FieldType):
    """Any text. Values that are none are stored as their JSON text (RootCX Data API, coercion on writes)."""

    name = "text"
    column = "text"
    operators = PATTERN
    parameters: ClassVar[tuple[str, ...]] = ("min_length", "max_length")
    min_length: int = 0
    max_length: int | None = None

    @classmethod
    def declared(cls, node: Node) -> "TextType":
        """With bounds on the number of characters."""
        least = node.integer("min_length", "minLength", default=0, minimum=0, maximum=LENGTH_MAX)
        most = node.integer("max_length", "maxLength", default=None, minimum=1, maximum=LENGTH_MAX)
        if most is not None and least > most:
            path = node.path("min_length")
            raise Invalid(path, f"{path} must not be greater than max_length")
        return cls(least, most)

    def stored(self, value: Any) -> str:
        text = self._read(value)
        if "\x00" in text:
            raise NotOfType("must not hold the character U+0000")
        if len(text) < self.min_length:
            raise NotOfType(f"must have at least {self.min_length} characters")
        if self.max_length is not None and len(text) > self.max_length:
            raise NotOfType(f"must have at most {self.max_length} characters")
        return text

    def operand(self, value: Any) -> str:
        """Bounds are for what is stored: patterns and parts of texts are compared as they are."""
        text = self._read(value)
        if "\x00" in text:
            raise NotOfType("must not hold the character U+0000")
        return text

    def _read(self, value: Any) -> str:
        return value if isinstance(value, str) else json_text(value)

    def rule(self, column: str) -> str | None:
        bounds = [f"char_length({column}) >= {self.min_length}"] if self.min_length else []
        if self.max_length is not None:
            bounds.append(f"char_length({column}) <= {self.max_length}")
        return " AND ".join(bounds) or None

    def describe(self) -> dict[str, Any]:
        least = {"minLength": self.min_length} if self.min_length else {}
        most = {} if self.max_length is None else {"maxLength": self.max_length}
        return {"type": "string", **least, **most}

    def converted(self, column: str) -> str:
        return f"{column}::text"


@dataclass(frozen=True)
class LongTextType(TextType):
    """Text of several lines."""

    name = "long_text"


@dataclass(frozen=True)
class RichTextType(TextType):
    """HTML that formats text. Scripts, styles, event handlers and other schemes than http and mailto are taken out."""

    name = "rich_text"
    max_length: int | None = 262_144

    @classmethod
    def declared(cls, node: Node) -> "RichTextType":
        """With bounds on the number of characters."""
        made = super().declared(node)
        return cls(made.min_length, cls.max_length if made.max_length is None else made.max_length)

    def stored(self, value: Any) -> str:
        if not isinstance(value, str):
            raise NotOfType("must be a text of HTML")
        return super().stored(cleaned(value) if len(value) <= LENGTH_MAX else value)

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "contentMediaType": "text/html"}


@dataclass(frozen=True)
class FileType(TextType):
    """The id of a stored file."""

    name = "file"
    parameters: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def declared(cls, node: Node) -> "FileType":
        """Without parameters."""
        return cls()


@dataclass(frozen=True)
class ImageType(FileType):
    """The id of a stored file that is an image."""

    name = "image"


class ExactText(FieldType):
    """A text of one form, stored in one spelling. `pattern` (PostgreSQL's) guards the column too."""

    column = "text"
    operators = PATTERN
    must_be: ClassVar[str]
    pattern: ClassVar[str]
    format: ClassVar[dict[str, Any]]

    def stored(self, value: Any) -> str:
        text = self.spelled(value.strip()) if isinstance(value, str) and "\x00" not in value else None
        if text is None:
            raise NotOfType(self.must_be)
        return text

    def operand(self, value: Any) -> str:
        """As it is stored, where it is one; any other text may be part of one, or a pattern."""
        if not isinstance(value, str) or "\x00" in value:
            raise NotOfType(self.must_be)
        return self.spelled(value.strip()) or value

    def spelled(self, text: str) -> str | None:
        """The text in its one spelling; None if it is not of the form."""
        raise NotImplementedError

    def rule(self, column: str) -> str | None:
        return f"{column} ~ '{self.pattern}'"

    def describe(self) -> dict[str, Any]:
        return {"type": "string", **self.format}

    def converted(self, column: str) -> str:
        return f"{column}::text"


@dataclass(frozen=True)
class EmailType(ExactText):
    """An e-mail address, its domain in lower case."""

    name = "email"
    must_be = "must be an e-mail address"
    pattern = "^[^[:space:]@]+@[^[:space:]@]+[.][^[:space:]@]+$"
    format: ClassVar = {"format": "email", "maxLength": EMAIL_CHARS_MAX}

    def spelled(self, text: str) -> str | None:
        match = _EMAIL.fullmatch(text)
        if match is None or len(text) > EMAIL_CHARS_MAX or len(match[1]) > LOCAL_PART_CHARS_MAX:
            return None
        return f"{match[1]}@{match[2].lower()}"


@dataclass(frozen=True)
class UrlType(ExactText):
    """An absolute http or https URL."""

    name = "url"
    must_be = "must be an absolute http or https URL"
    pattern = "^[hH][tT][tT][pP][sS]?://[^[:space:]]+$"
    format: ClassVar = {"format": "uri", "maxLength": URL_CHARS_MAX}

    def spelled(self, text: str) -> str | None:
        if len(text) > URL_CHARS_MAX or any(char.isspace() or not char.isprintable() for char in text):
            return None
        try:
            parts = urlsplit(text)
            port = parts.port
        except ValueError:
            return None
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and (port is None or port > 0)
        return text if known else None


@dataclass(frozen=True)
class PhoneType(ExactText):
    """A telephone number in E.164; spaces, dots, dashes and parentheses are taken out."""

    name = "phone"
    must_be = "must be a telephone number with its country code, like +49 30 901820"
    pattern = "^[+][1-9][0-9]{6,14}$"
    format: ClassVar = {"pattern": r"^\+[1-9][0-9]{6,14}$"}

    def spelled(self, text: str) -> str | None:
        number = _PHONE_FILLING.sub("", text)
        return number if _PHONE.fullmatch(number) else None


@dataclass(frozen=True)
class ColorType(ExactText):
    """A colour, `#rrggbb`, in lower case."""

    name = "color"
    must_be = "must be a colour, #rrggbb"
    pattern = "^#[0-9a-f]{6}$"
    format: ClassVar = {"pattern": "^#[0-9a-f]{6}$"}

    def spelled(self, text: str) -> str | None:
        return text.lower() if _COLOR.fullmatch(text) else None


@dataclass(frozen=True)
class EnumType(FieldType):
    """One of the texts that the field declares."""

    name = "enum"
    column = "text"
    operators = EQUALITY
    sortable = True
    filter = "ChoiceFilter"

    def stored(self, value: Any) -> str:
        if not isinstance(value, str) or "\x00" in value:
            raise NotOfType("must be one of the declared texts")
        return value

    def describe(self) -> dict[str, Any]:
        return {"type": "string"}

    def converted(self, column: str) -> str:
        return f"{column}::text"
