"""The names people sign in with, and the passwords they choose."""

import re
import unicodedata

from domain.kernel.errors import Invalid

NAME_CHARS_MAX = 254  # the longest e-mail address there can be (RFC 5321, as corrected)
PASSWORD_CHARS_MIN = 10
PASSWORD_CHARS_MAX = 1024

_ADDRESS = re.compile(r"[^@\s]+@[^@\s]+")


def login_key(name: str) -> str:
    """The form in which names are compared: two names with one key are one name."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).strip()


def clean_name(field: str, name: str) -> str:
    """A user name or address, trimmed. Raises Invalid."""
    name = name.strip()
    if not name:
        raise Invalid(field, f"{field} must not be empty")
    if len(name) > NAME_CHARS_MAX:
        raise Invalid(field, f"{field} must be at most {NAME_CHARS_MAX} characters")
    if not all(char.isprintable() for char in name):
        raise Invalid(field, f"{field} must not hold control characters")
    return name


def clean_email(field: str, email: str) -> str:
    """An e-mail address, trimmed. Raises Invalid."""
    email = clean_name(field, email)
    if not _ADDRESS.fullmatch(email):
        raise Invalid(field, f"{field} must be an e-mail address")
    return email


def check_password(field: str, password: str) -> None:
    """The rule of RootCX's older document: ten characters, with an upper, a lower and a digit. Raises Invalid."""
    if len(password) > PASSWORD_CHARS_MAX:
        raise Invalid(field, f"{field} must be at most {PASSWORD_CHARS_MAX} characters")
    if "\x00" in password:
        raise Invalid(field, f"{field} must not hold control characters")
    missing = [
        what
        for what, there in (
            (f"at least {PASSWORD_CHARS_MIN} characters", len(password) >= PASSWORD_CHARS_MIN),
            ("an upper-case letter", any(char.isupper() for char in password)),
            ("a lower-case letter", any(char.islower() for char in password)),
            ("a digit", any(char.isdigit() for char in password)),
        )
        if not there
    ]
    if missing:
        raise Invalid(field, f"{field} needs {', '.join(missing)}")
