"""The embedded Valkey: what it keeps, and what it survives."""

import os
import signal
import time

import pytest
from redis import Redis
from redis.exceptions import ConnectionError, ResponseError

from infra.embedded.valkey import EmbeddedValkey
from tests.infra.running import eventually


@pytest.fixture
def valkey(data_dir):
    server = EmbeddedValkey(data_dir)
    yield server
    server.stop(2)


def client(url: str) -> Redis:
    return Redis.from_url(url, decode_responses=True)


def test_what_it_is(valkey_url):
    with client(valkey_url) as connection:
        config = connection.config_get()
    wanted = {"port": "0", "appendonly": "yes", "maxmemory": str(256 * 2**20), "maxmemory-policy": "noeviction"}
    assert {name: config[name] for name in wanted} == wanted


def test_stop_and_start_keep_what_was_written(valkey):
    url = valkey.start()
    with client(url) as connection:
        connection.set("kept", "42")
        connection.set("gone", "1", px=1)
    valkey.stop()
    assert valkey.start() == url
    with client(url) as connection:
        assert (connection.get("kept"), connection.get("gone")) == ("42", None)


def test_kill_9_loses_a_second_at_most(valkey):
    with client(valkey.start()) as connection:
        connection.set("kept", "42")
    time.sleep(1.1)
    os.kill(valkey.pid, signal.SIGKILL)
    assert eventually(lambda: not valkey.alive())
    with client(valkey.start()) as connection:
        assert connection.get("kept") == "42"


def test_a_damaged_log_is_put_aside(valkey):
    with client(valkey.start()) as connection:
        connection.set("kept", "42")
    valkey.stop()
    (log,) = (valkey.folder / "appendonlydir").glob("*.incr.aof")
    log.write_bytes(b"*3\r\nthis is no log of commands\r\n" + log.read_bytes())
    with client(valkey.start()) as connection:
        assert connection.get("kept") is None
    assert [path.name.partition(".")[2][:7] for path in valkey.folder.glob("appendonlydir.*")] == ["damaged"]


def test_full_memory_refuses_writes_and_forgets_nothing(valkey):
    with client(valkey.start()) as connection:
        connection.set("kept", "42")
        connection.config_set("maxmemory", "1mb")
        with pytest.raises(ResponseError, match="not allowed when used memory > 'maxmemory'"):
            connection.set("more", "x" * 2**21)
        assert connection.get("kept") == "42"


def test_nobody_listens_after_a_stop(valkey):
    url = valkey.start()
    valkey.stop()
    with client(url) as connection, pytest.raises(ConnectionError):
        connection.ping()
