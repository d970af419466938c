"""Logs: one line an event, whoever says it."""

import json
import logging

import pytest
import structlog

from infra import logs


@pytest.fixture(autouse=True)
def restored():
    yield
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], level=logging.WARNING, force=True)
    logging.raiseExceptions = True


def lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().err.splitlines()]


def test_json(capsys):
    logs.configure("info", "json")
    log = logs.get_logger("here")
    log.debug("too_quiet")
    log.info("something", count=1, odd=object)
    (line,) = lines(capsys)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")
    assert (line["level"], line["event"], line["source"], line["count"]) == ("info", "something", "here", 1)


def test_libraries_are_heard_from_warnings_on_in_the_same_form(capsys):
    logs.configure("info", "json")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("a %s", "warning")
    (line,) = lines(capsys)
    assert (line["level"], line["event"], line["source"]) == ("warning", "a warning", "uvicorn.error")


def test_debug_does_not_bring_out_what_libraries_whisper(capsys):
    logs.configure("debug", "json")
    logging.getLogger("botocore.auth").debug("the signing key")
    logging.getLogger("botocore").info("found credentials")
    assert [line["event"] for line in lines(capsys)] == ["found credentials"]


def test_an_exception_is_still_one_line(capsys):
    logs.configure("info", "json")
    try:
        raise ValueError("bad")
    except ValueError:
        logs.get_logger("here").exception("failed")
        logging.getLogger("there").exception("failed too")
    ours, theirs = lines(capsys)
    assert "ValueError: bad" in ours["exception"]
    assert "ValueError: bad" in theirs["exception"]


def test_text(capsys):
    logs.configure("warning", "text")
    logs.get_logger("here").info("too_quiet")
    logs.get_logger("here").warning("something", count=1)
    out = capsys.readouterr().err
    assert out.count("\n") == 1
    assert "something" in out
    assert "count=1" in out
