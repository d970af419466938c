"""Failures the program expects: said in one line, without a traceback."""


class Failure(Exception):
    """What cannot be done, and what to do about it, for the person at the terminal."""

    exit_code = 1


class Misuse(Failure):
    """The caller can put it right: a setting, an option, a folder or port that is taken."""

    exit_code = 2
