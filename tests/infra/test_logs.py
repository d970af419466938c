"""Logs: one line an event, whoever says it."""

import json
import logging
import os

import pytest
import structlog

from infra import logs


@pytest.fixture(autouse=True)
def restored():
    yield
    structlog.reset_defaults()
    logging.basicConfig(handlers=[], level=logging.WARNING, force=True)
    logging.raiseExceptions = True


def lines(capfd) -> list[dict]:
    return [json.loads(line) for line in capfd.readouterr().err.splitlines()]


def test_json(capfd):
    logs.configure("info", "json")
    log = logs.get_logger("here")
    log.debug("too_quiet")
    log.info("something", count=1, odd=object)
    (line,) = lines(capfd)
    assert list(line)[:3] == ["time", "level", "event"]
    assert line["time"].endswith("Z")
    assert (line["level"], line["event"], line["source"], line["count"]) == ("info", "something", "here", 1)


def test_libraries_are_heard_from_warnings_on_in_the_same_form(capfd):
    logs.configure("info", "json")
    logging.getLogger("uvicorn.error").info("Started server process")
    logging.getLogger("uvicorn.error").warning("a %s", "warning")
    (line,) = lines(capfd)
    assert (line["level"], line["event"], line["source"]) == ("warning", "a warning", "uvicorn.error")


def test_debug_does_not_bring_out_what_libraries_whisper(capfd):
    logs.configure("debug", "json")
    logging.getLogger("botocore.auth").debug("the signing key")
    logging.getLogger("botocore").info("found credentials")
    assert [line["event"] for line in lines(capfd)] == ["found credentials"]


def test_an_exception_is_still_one_line(capfd):
    logs.configure("info", "json")
    try:
        raise ValueError("bad")
    except ValueError:
        logs.get_logger("here").exception("failed")
        logging.getLogger("there").exception("failed too")
    ours, theirs = lines(capfd)
    assert "ValueError: bad" in ours["exception"]
    assert "ValueError: bad" in theirs["exception"]


def test_a_reader_that_went_away_breaks_nothing(monkeypatch):
    read_end, write_end = os.pipe()
    os.close(read_end)
    unread = os.fdopen(write_end, "w")
    monkeypatch.setattr("sys.stderr", unread)
    logs.configure("info", "json")
    logs.get_logger("here").info("something")
    logging.getLogger("there").warning("something")
    with pytest.raises(BrokenPipeError):
        unread.close()


def test_text(capfd):
    logs.configure("warning", "text")
    logs.get_logger("here").info("too_quiet")
    logs.get_logger("here").warning("something", count=1)
    out = capfd.readouterr().err
    assert out.count("\n") == 1
    assert "something" in out
    assert "count=1" in out
