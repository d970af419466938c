"""Text that must not be shown: it comes in once, and is handed only to what needs it."""


class SecretText:
    """A secret in the clear. Whoever prints, logs or formats it gets a mask; `text` must be asked for by name."""

    __slots__ = ("text",)

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __format__(self, spec: str) -> str:
        return "***"

    def __reduce__(self) -> str:
        raise TypeError("a secret is not for storing")
