"""Types whose values are numbers."""

import math
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import Any, ClassVar

from domain.kernel.errors import Invalid
from domain.kernel.reading import Node
from domain.records.naming import literal
from domain.records.types.base import FieldType, NotOfType
from domain.records.types.currencies import MINOR_DIGITS

SAFE_MAX = 2**53 - 1  # whole numbers up to here are exact in every JSON reader
PRECISION_MAX = 1000  # PostgreSQL's, of a numeric column
OPERAND_DIGITS_MAX = 1000

_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?\s*")
_FORMAT = re.compile(r"([^{}\x00]{0,50})\{(0{1,18})\}([^{}\x00]{0,50})")
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d{1,4})?")


@dataclass(frozen=True)
class NumberType(FieldType):
    """A double. Numeric strings and booleans are taken, infinities are not."""

    name = "number"
    column = "double precision"
    foreign_words = "[nix]"  # NaN, infinity, hexadecimal
    graphql = "Float"
    parameters = ("minimum", "maximum")
    minimum: float | None = None
    maximum: float | None = None

    @classmethod
    def declared(cls, node: Node) -> "NumberType":
        """With bounds."""
        return cls(*_bounds(node, node.number))

    def stored(self, value: Any) -> float | int:
        number = self._read(value)
        _refuse_beyond(number, self.minimum, self.maximum)
        return number

    def operand(self, value: Any) -> float:
        return float(self._read(value))

    def _read(self, value: Any) -> float | int:
        if isinstance(value, str) and _NUMBER.fullmatch(value):
            value = float(value)
        if isinstance(value, bool):
            return int(value)
        if not isinstance(value, int | float):
            raise NotOfType("must be a number")
        try:
            finite = math.isfinite(float(value))
        except OverflowError:
            finite = False
        if not finite:
            raise NotOfType("must be a number within the range of a double")
        return value if isinstance(value, int) and abs(value) < 2**53 else float(value)

    def rule(self, column: str) -> str | None:
        return _bounds_rule(column, self.minimum, self.maximum)

    def describe(self) -> dict[str, Any]:
        return {"type": "number", **_described(self.minimum, self.maximum)}

    def converted(self, column: str) -> str:
        return super().converted(f"nullif(btrim({column}::text), '')")


@dataclass(frozen=True)
class IntegerType(FieldType):
    """A whole number that every JSON reader keeps exact."""

    name = "integer"
    column = "bigint"
    graphql = "BigInt"
    parameters = ("minimum", "maximum")
    minimum: int = -SAFE_MAX
    maximum: int = SAFE_MAX

    @classmethod
    def declared(cls, node: Node) -> "IntegerType":
        """With bounds."""

        def read(*keys: str) -> Any:
            return node.integer(*keys, default=None, minimum=-SAFE_MAX, maximum=SAFE_MAX)

        least, most = _bounds(node, read)
        return cls(-SAFE_MAX if least is None else least, SAFE_MAX if most is None else most)

    def stored(self, value: Any) -> int:
        number = self.operand(value)
        _refuse_beyond(number, self.minimum, self.maximum)
        return number

    def operand(self, value: Any) -> int:
        whole = isinstance(value, int) or (isinstance(value, float) and value.is_integer())
        if isinstance(value, bool) or not whole:
            raise NotOfType("must be a whole number")
        if abs(value) > SAFE_MAX:
            raise NotOfType(f"must be a whole number from -{SAFE_MAX} to {SAFE_MAX}")
        return int(value)

    def rule(self, column: str) -> str | None:
        return _bounds_rule(column, self.minimum, self.maximum)

    def describe(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.minimum, "maximum": self.maximum}

    def converted(self, column: str) -> str:
        """By way of numeric: a number is printed with a point or an exponent, and what isn't whole must fail."""
        number = f"({column}::text)::numeric"
        return f"(CASE WHEN {number} = trunc({number}) THEN trunc({number})::text ELSE {column}::text END)::bigint"


@dataclass(frozen=True)
class AutonumberType(FieldType):
    """A number of its own for each record, counted up: `TKT-0001`. Stored as the number, and compared as one."""

    name = "autonumber"
    column = "bigint"
    written = False
    filter = "AutonumberFilter"
    parameters = ("format", "start")
    prefix: str = ""
    digits: int = 1
    suffix: str = ""
    start: int = 1

    @classmethod
    def declared(cls, node: Node) -> "AutonumberType":
        """With a `format` in which `{0000}` stands for the number, with that many digits at least, and its `start`."""
        text = node.text("format", "autonumberFormat", default="{0}")
        match = _FORMAT.fullmatch(text)
        if match is None:
            path = node.path("format")
            raise Invalid(path, f"{path} must be a text with one number in braces, like TKT-{{0000}}")
        start = node.integer("start", "startAt", default=1, minimum=0, maximum=SAFE_MAX)
        return cls(match[1], len(match[2]), match[3], start)

    def stored(self, value: Any) -> int:
        digits = value[len(self.prefix) : len(value) - len(self.suffix)] if isinstance(value, str) else ""
        if not digits.isascii() or not digits.isdigit() or value != self._shown(int(digits)):
            raise NotOfType(f"must be like {self._shown(self.start)}")
        return int(digits)

    def _shown(self, number: int) -> str:
        return f"{self.prefix}{number:0{self.digits}}{self.suffix}"

    def shown(self, sql: str) -> str:
        digits = f"lpad(({sql})::text, greatest({self.digits}, length(({sql})::text)), '0')"
        return f"({literal(self.prefix)} || {digits} || {literal(self.suffix)})"

    def read_back(self, text: str) -> str:
        around = len(self.prefix) + len(self.suffix)
        return f"to_jsonb(substr({text}, {len(self.prefix) + 1}, length({text}) - {around})::bigint)"

    def describe(self) -> dict[str, Any]:
        return {"type": "string", "readOnly": True}


@dataclass(frozen=True)
class DecimalType(FieldType):
    """A decimal number, exact: as JSON it is a string with all the digits of its scale. Numbers are taken too."""

    name = "decimal"
    graphql = "Decimal"
    foreign_words = "[ni]"  # NaN, infinity
    parameters: ClassVar = ("precision", "scale", "minimum", "maximum")
    precision: int = 20
    scale: int = 8
    minimum: Decimal | None = None
    maximum: Decimal | None = None

    @classmethod
    def declared(cls, node: Node) -> "DecimalType":
        """With `precision` digits, `scale` of them after the point, and bounds."""
        scale = node.integer(
            "scale", default=min(cls.scale, node.integer("precision", default=cls.precision)), minimum=0
        )
        precision = node.integer("precision", default=max(cls.precision, scale), minimum=1, maximum=PRECISION_MAX)
        if scale > precision:
            raise Invalid(node.path("scale"), f"{node.path('scale')} must not be greater than precision")

        def read(*keys: str) -> Decimal | None:
            value = node.raw(*keys)
            if value is None:
                return None
            try:
                return decimal_of(value)
            except NotOfType as wrong:
                raise Invalid(node.path(keys[0]), f"{node.path(keys[0])} {wrong}") from wrong

        return cls(precision, scale, *_bounds(node, read))

    @property
    def column(self) -> str:
        return f"numeric({self.precision},{self.scale})"

    @property
    def bound(self) -> str:
        return "numeric"  # an operand keeps its digits: nothing is equal to what would have to be rounded

    def stored(self, value: Any) -> str:
        number = fitting(decimal_of(value), self.precision, self.scale)
        _refuse_beyond(Decimal(number), self.minimum, self.maximum)
        return number

    def operand(self, value: Any) -> Decimal:
        return decimal_of(value)

    def shown(self, sql: str) -> str:
        return f"({sql})::text"

    def rule(self, column: str) -> str | None:
        return _bounds_rule(column, self.minimum, self.maximum)

    def describe(self) -> dict[str, Any]:
        digits = f"[0-9]{{1,{max(1, self.precision - self.scale)}}}"
        after = f"\\.[0-9]{{{self.scale}}}" if self.scale else ""
        return {"type": "string", "pattern": f"^-?{digits}{after}$"}


@dataclass(frozen=True)
class PercentType(DecimalType):
    """A percentage: 12.5 means 12.5 %. A decimal from -1000 to 1000 unless declared otherwise."""

    name = "percent"
    precision: int = 9
    scale: int = 4
    minimum: Decimal | None = Decimal(-1000)
    maximum: Decimal | None = Decimal(1000)

    @classmethod
    def declared(cls, node: Node) -> "PercentType":
        """As a decimal is declared; `minimum` and `maximum` replace the bounds."""
        made = super().declared(node)
        assert isinstance(made, DecimalType)
        least = Decimal(-1000) if made.minimum is None else made.minimum
        most = Decimal(1000) if made.maximum is None else made.maximum
        return cls(made.precision, made.scale, least, most)


@dataclass(frozen=True)
class MoneyType(FieldType):
    """An amount of a currency: `{"amount": "12.50", "currency": "EUR"}`, the amount with the currency's own digits.

    A field that declares its currency takes the amount alone, too, and no other currency.
    """

    name = "money"
    column = "money_value"
    bound = "text::money_value"
    graphql = "Money"
    parameters = ("currency",)
    PRECISION: ClassVar[int] = 20
    currency: str | None = None

    @classmethod
    def declared(cls, node: Node) -> "MoneyType":
        """With the one `currency` of all values, if that is declared."""
        code = node.text("currency", default=None)
        if code is not None and code not in MINOR_DIGITS:
            raise Invalid(node.path("currency"), f"{node.path('currency')} must be a currency code of ISO 4217")
        return cls(code)

    def stored(self, value: Any) -> dict[str, str]:
        amount, code = self._parts(value)
        return {"amount": fitting(decimal_of(amount), self.PRECISION, MINOR_DIGITS[code]), "currency": code}

    def operand(self, value: Any) -> str:
        amount, code = self._parts(value)
        return f"({decimal_of(amount)},{code})"

    def _parts(self, value: Any) -> tuple[Any, str]:
        if self.currency is not None and not isinstance(value, dict):
            return value, self.currency
        if not isinstance(value, dict) or value.keys() != {"amount", "currency"}:
            raise NotOfType("must be an object of amount and currency")
        code = value["currency"]
        if not isinstance(code, str) or code not in MINOR_DIGITS:
            raise NotOfType("must have a currency code of ISO 4217")
        if self.currency not in (None, code):
            raise NotOfType(f"must be an amount in {self.currency}")
        return value["amount"], code

    def constant(self, stored: Any) -> str:
        return f"{literal(self.operand(stored))}::{self.column}"

    def shown(self, sql: str) -> str:
        parts = f"JSON_OBJECT('amount' : (({sql}).amount)::text, 'currency' : ({sql}).currency)"
        return f"CASE WHEN ({sql}) IS NOT NULL THEN {parts} END"

    def compared(self, sql: str, sign: str, operand: str) -> str:
        """Amounts of two currencies are neither equal, nor is one less than the other."""
        if sign in ("=", "<>"):
            return f"{sql} {sign} {operand}"
        return f"(({sql}).currency = ({operand}).currency AND ({sql}).amount {sign} ({operand}).amount)"

    def rule(self, column: str) -> str | None:
        there = f"({column}).amount IS NOT NULL AND ({column}).currency IS NOT NULL"
        one = "" if self.currency is None else f" AND ({column}).currency = '{self.currency}'"
        return f"{column} IS NULL OR ({there}{one})"

    def describe(self) -> dict[str, Any]:
        codes = [self.currency] if self.currency else sorted(MINOR_DIGITS)
        amount = {"type": "string", "pattern": r"^-?[0-9]{1,20}(\.[0-9]{1,4})?$"}
        properties = {"amount": amount, "currency": {"type": "string", "enum": codes}}
        return {"type": "object", "properties": properties, "required": ["amount", "currency"]}

    def converted(self, column: str) -> str:
        """A number becomes an amount of the declared currency."""
        if self.currency is None:
            return super().converted(column)
        digits = MINOR_DIGITS[self.currency]
        amount = f"round(({column}::text)::numeric, {digits})"
        text = f"CASE WHEN {column}::text LIKE '(%' THEN {column}::text ELSE '(' || {amount} || ',{self.currency})' END"
        return f"({text})::money_value"


def decimal_of(value: Any) -> Decimal:
    """The decimal that a number or a text stands for, never by way of a float's binary digits. Raises NotOfType."""
    if isinstance(value, float) and math.isfinite(value):
        value = repr(value)
    elif isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**OPERAND_DIGITS_MAX:
        return Decimal(value)
    if not isinstance(value, str) or len(value) > OPERAND_DIGITS_MAX or not _DECIMAL.fullmatch(value):
        raise NotOfType("must be a decimal number")
    number = Decimal(value)
    if abs(number.adjusted()) > OPERAND_DIGITS_MAX:
        raise NotOfType("must be a decimal number")
    return number + 0 if number else Decimal(0)


def fitting(number: Decimal, precision: int, scale: int) -> str:
    """The number with all digits of the scale. Raises NotOfType where it would have to be rounded."""
    digits = number.as_tuple()
    assert isinstance(digits.exponent, int)
    significant = len(str(int("".join(map(str, digits.digits)))).rstrip("0")) if number else 0
    after = max(0, significant - 1 - number.adjusted()) if number else 0
    if after > scale:
        raise NotOfType(f"must have at most {scale} digits after the point")
    if number and number.adjusted() >= precision - scale:
        raise NotOfType(f"must have at most {precision - scale} digits before the point")
    try:
        return f"{number:.{scale}f}" if number else f"{Decimal(0):.{scale}f}"
    except InvalidOperation:
        raise NotOfType("must be a decimal number") from None


def _bounds(node: Node, read: Any) -> tuple[Any, Any]:
    """The declared bounds. Raises Invalid where nothing is between them."""
    least, most = read("minimum", "min"), read("maximum", "max")
    if least is not None and most is not None and least > most:
        raise Invalid(node.path("minimum"), f"{node.path('minimum')} must not be greater than maximum")
    return least, most


def _refuse_beyond(value: Any, least: Any, most: Any) -> None:
    if least is not None and value < least:
        raise NotOfType(f"must be at least {least}")
    if most is not None and value > most:
        raise NotOfType(f"must be at most {most}")


def _bounds_rule(column: str, least: Any, most: Any) -> str | None:
    bounds = [] if least is None else [f"{column} >= {least}"]
    if most is not None:
        bounds.append(f"{column} <= {most}")
    return " AND ".join(bounds) or None


def _described(least: Any, most: Any) -> dict[str, Any]:
    return {key: bound for key, bound in (("minimum", least), ("maximum", most)) if bound is not None}
