"""Deployed code that means harm, or is merely broken: it hurts itself at most.

Each of these is deployed beside a neighbour, which is asked all the while and answers within a second.
"""

import os
import re
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from domain.kernel.errors import Failed
from domain.kernel.model import DEFAULT_TENANT
from tests.harness import Person, Stoa
from tests.workers.hosting import ECHO, App, RunningHost, deployed, eventually, hosting, listening

MEMORY = 160 * 2**20
PATIENCE_S, AT_MOST_S = 1.5, 10.0  # the machine may be busy with other things, too

PYTHON = """
import ctypes, errno, json, os, signal, socket, subprocess, sys, threading, time, urllib.request
from stoa import serve

def refusal(work):
    try:
        return ["done", str(work())]
    except Exception as problem:
        return [type(problem).__name__, getattr(problem, "errno", None)]

def syscall(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    return [libc[name](*arguments), errno.errorcode.get(ctypes.get_errno())]

METHODS = {"echo": lambda params, caller, ctx: params}
def method(work):
    METHODS[work.__name__] = lambda params, caller, ctx: work(params)
"""


@pytest.fixture(scope="module")
def host(stoa: Stoa) -> Iterator[RunningHost]:
    with hosting(stoa, worker_memory=MEMORY) as running:
        yield running


@pytest.fixture(scope="module")
def neighbour(admin: Person, host: RunningHost) -> App:
    return deployed(admin, "neighbour", ECHO)


@pytest.fixture
def unharmed(neighbour: App) -> Iterator[None]:
    """The neighbour answers in time while the test runs: always, and mostly at once."""
    stopping, took = threading.Event(), list[float]()

    def ask() -> None:
        while True:
            began = time.monotonic()
            assert neighbour.call("echo", {"how": "well"}) == {"how": "well"}
            took.append(time.monotonic() - began)
            if stopping.wait(0.05):
                return

    asking = threading.Thread(target=ask)
    asking.start()
    yield
    stopping.set()
    asking.join(AT_MOST_S)
    assert not asking.is_alive()
    assert (statistics.median(took) < PATIENCE_S, max(took) < AT_MOST_S) == (True, True), took
    assert neighbour.call("echo", {"and": "after"}) == {"and": "after"}


pytestmark = pytest.mark.usefixtures("unharmed")


def python(admin: Person, app_id: str, *methods: str) -> App:
    """An app of these functions, each of which takes the params."""
    source = PYTHON + "".join(f"\n@method\n{method}\n" for method in methods) + "\nserve(METHODS)\n"
    return deployed(admin, app_id, {"main.py": source})


def inhabitants(namespace: str) -> list[int]:
    """The processes of a process namespace."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if os.readlink(entry / "ns/pid") == namespace:
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def namespace_of(host: RunningHost, app_id: str) -> str:
    return os.readlink(f"/proc/{host.pid(app_id)}/ns/pid")


def crashes(app: App, work: Callable[[], Any], host: RunningHost) -> str:
    """How the worker crashed by that, as its log has it."""
    with listening(app.person, app.id) as log:
        work()
        said = eventually(lambda: [text for text in log.messages("system") if "worker crashed" in text], 60)
    crash: str = said[0]
    return crash


def test_one_that_never_comes_back_is_ended(admin: Person, host: RunningHost) -> None:
    app = deployed(admin, "looper", "serve({rpc: {echo: (p) => p, loop: () => { for (;;); }}})")

    def loop() -> None:
        with pytest.raises(Failed, match=r"rpc timeout \(2s\)"):
            host.do(host.host.rpc(DEFAULT_TENANT, "looper", "loop", {}, None, 2))

    assert re.search(r"busy for \d s and answered nothing", crashes(app, loop, host))
    eventually(lambda: app.status() == "running")
    assert app.call("echo", {"back": True}) == {"back": True}


def test_a_flood_of_log_lines_is_read_no_faster_than_it_may_come(admin: Person, host: RunningHost) -> None:
    app = deployed(
        admin, "flooder", "serve({rpc: {flood: () => { for (;;) console.log('x'.repeat(500)) }, echo: (p) => p}})"
    )
    with listening(admin, "flooder") as log:
        pid = host.pid("flooder")
        with pytest.raises(Failed, match="rpc timeout"):
            host.do(host.host.rpc(DEFAULT_TENANT, "flooder", "flood", {}, None, 3))
        count = len(log.lines)
        assert 256 < count < 12_000  # 5,000 at once, 1,000 a second after, less what was dropped
        assert os.path.exists(f"/proc/{pid}")
    assert app.stop().status_code == 200
    eventually(lambda: not os.path.exists(f"/proc/{pid}"), 2)


def test_a_line_without_end_breaks_the_pipe(admin: Person, host: RunningHost) -> None:
    app = python(admin, "endless", "def endless(params):\n    while True: os.write(1, b'x' * 65536)")
    crash = crashes(app, lambda: app.rpc("endless"), host)
    assert "it wrote a line of more than 1048576 bytes" in crash


def test_standard_error_without_end_is_cut(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "mumbler",
        "def mumble(params):\n"
        "    for _ in range(params['blocks']): os.write(2, b'x' * 65536)\n"
        "    os.write(2, b'\\nend\\n')",
    )
    with listening(admin, "mumbler") as log:
        app.call("mumble", {"blocks": 200})
        eventually(lambda: "end" in log.messages("stderr"))
        assert [len(text) for text in log.messages("stderr")] == [8192, 3]


def test_memory_is_bounded_for_one_process(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "glutton",
        "def eat(params):\n    kept = []\n    while True:\n        kept.append(bytearray(10_000_000))",
    )
    answer = app.rpc("eat")
    assert answer.status_code == 500
    assert eventually(lambda: app.rpc("echo", {"x": 1}).status_code == 200)


def test_memory_is_bounded_for_all_that_a_worker_starts(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "family",
        "def breed(params):\n"
        "    for _ in range(8):\n"
        "        if os.fork() == 0:\n"
        "            kept = bytearray(b'x') * 40_000_000\n"
        "            time.sleep(60)\n"
        "    return None",
    )
    namespace = namespace_of(host, "family")
    assert re.search(r"it used \d+ MiB of memory, 160 are allowed", crashes(app, lambda: app.rpc("breed"), host))
    eventually(lambda: not inhabitants(namespace))


def test_javascript_memory_is_bounded_outside_of_its_heap(admin: Person, host: RunningHost) -> None:
    app = deployed(
        admin,
        "buffers",
        """const kept = [];
        serve({rpc: {eat: async () => { for (;;) { kept.push(new Uint8Array(10_000_000).fill(1));
          await new Promise((r) => setTimeout(r, 5)) } }, echo: (p) => p}})""",
    )
    crash = crashes(app, lambda: app.rpc("eat"), host)
    assert "MiB of memory" in crash or "exit code" in crash


def test_a_fork_bomb_stays_in_its_box(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "bomb",
        "def explode(params):\n"
        "    count = 0\n"
        "    while True:\n"
        "        try:\n"
        "            if os.fork() == 0:\n"
        "                time.sleep(60)\n"
        "            count += 1\n"
        "        except OSError:\n"
        "            return count",
    )
    namespace = namespace_of(host, "bomb")
    with listening(admin, "bomb"):
        count = app.rpc("explode").json()
    assert (
        isinstance(count, int) or "crash" in str(count) or "memory" in str(count)
    )  # or it took too much of that first
    assert not isinstance(count, int) or count < 64
    app.stop()
    eventually(lambda: not inhabitants(namespace), 2)


def test_what_hides_from_its_group_ends_with_the_worker(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "daemon",
        "def hide(params):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0:\n"
        "            signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "            for stream in (0, 1, 2): os.close(stream)\n"
        "            time.sleep(600)\n"
        "        os._exit(0)\n"
        "    os.wait()\n"
        "    return None",
    )
    namespace = namespace_of(host, "daemon")
    app.call("hide")
    assert len(inhabitants(namespace)) >= 2
    assert app.stop().status_code == 200
    eventually(lambda: not inhabitants(namespace), 2)


def test_files_of_others_are_not_there(admin: Person, host: RunningHost, stoa: Stoa) -> None:
    app = python(
        admin,
        "reader",
        "def look(params):\n    return [refusal(lambda: os.listdir(path)) for path in params]",
        "def look_around(params):\n"
        "    pids = [name for name in os.listdir('/proc') if name.isdigit()]\n"
        "    environs = [open(f'/proc/{pid}/environ').read() for pid in pids]\n"
        "    return [sorted(os.listdir('/')), len(pids), [e for e in environs if 'STOA' in e]]",
        "def write(params):\n    return [refusal(lambda: open(path, 'w')) for path in params]",
    )
    data = stoa.app._settings.data_dir
    outside = [str(data), str(data / "workers"), str(Path(__file__).parent), "/home", "/var", "/boot"]
    assert app.call("look", outside) == [["FileNotFoundError", 2]] * len(outside)
    names, processes, environs = app.call("look_around")
    assert set(names) <= {
        "app",
        "bin",
        "dev",
        "etc",
        "lib",
        "lib64",
        "proc",
        "root",
        "run",
        "tmp",
        "usr",
        "opt",
        "home",
    }
    assert (processes, environs) == (1, [])
    refused = app.call("write", ["/app/main.py", "/etc/passwd", "/x", "/usr/x", "/proc/sys/kernel/hostname"])
    assert {error for error, _ in refused} <= {"OSError", "PermissionError"}


def test_it_connects_to_nothing_inside(admin: Person, host: RunningHost, stoa: Stoa) -> None:
    app = python(
        admin,
        "knocker",
        "def tcp(params):\n"
        "    return [refusal(lambda: socket.create_connection((host, port), 2)) for host, port in params]",
        "def unix(params):\n"
        "    def connect(path): return socket.socket(socket.AF_UNIX).connect(path)\n"
        "    return [refusal(lambda: connect(path)) for path in params]",
        "def family(params):\n    return [refusal(lambda: socket.socket(each)) for each in params]",
        "def out(params):\n"
        "    def answer(url):\n"
        "        try:\n"
        "            with urllib.request.urlopen(url, timeout=5) as got: return [got.status, got.read().decode()]\n"
        "        except urllib.error.HTTPError as problem: return [problem.code, problem.read().decode()]\n"
        "        except OSError as problem: return [0, str(problem)]\n"
        "    return [answer(url) for url in params]",
    )
    port = int(stoa.base_url.rpartition(":")[2])
    tcp = app.call("tcp", [["127.0.0.1", port], ["127.0.0.1", 5432], ["10.0.0.1", 80], ["1.1.1.1", 53]])
    assert [error for error, _ in tcp] == ["ConnectionRefusedError", "ConnectionRefusedError", "OSError", "OSError"]
    sockets = [host.host.address.removeprefix("unix:"), "/tmp/.s.PGSQL.5432", "/run/docker.sock"]
    assert [error for error, _ in app.call("unix", sockets)] == ["FileNotFoundError"] * 3
    assert [error for error, _ in app.call("family", [40, 17, 38])] == ["OSError"] * 3  # vsock, packet, alg
    inward = ["http://127.0.0.1:5432/", "http://[::1]/", "http://169.254.169.254/latest", "http://0.0.0.0:5432/"]
    assert app.call("out", inward) == [
        [403, f"{url.split('//')[1].split('/')[0].removesuffix(':5432').strip('[]')} is not on the public internet"]
        for url in inward
    ]
    assert app.call("out", ["http://localhost:22/"]) == [[403, "port 22 is not one of the web's"]]
    assert app.call("out", [f"{stoa.base_url}/health"]) == [[200, '{"status":"ok"}']]  # as anybody may


def test_it_has_no_rights_and_gets_none(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "climber",
        "def climb(params):\n"
        "    return {\n"
        "        'unshare': syscall('unshare', 0x10000000), 'ptrace': syscall('ptrace', 16, 1, 0, 0),\n"
        "        'mount': syscall('mount', b'none', b'/tmp', b'tmpfs', 0, None), 'setuid': syscall('setuid', 0),\n"
        "        'pdeathsig': syscall('prctl', 1, 0, 0, 0, 0), 'chroot': syscall('chroot', b'/tmp'),\n"
        "    }",
        "def identity(params):\n"
        "    told = dict(line.split(':', 1) for line in open('/proc/self/status') if ':' in line)\n"
        "    names = ('CapEff', 'CapBnd', 'NoNewPrivs', 'Seccomp')\n"
        "    return {name: told[name].strip() for name in names} | {'uid': os.getuid()}",
        "def kill(params):\n    return [refusal(lambda: os.kill(pid, signal.SIGKILL)) for pid in params]",
    )
    assert app.call("climb") == {
        name: [-1, "EPERM"] for name in ("unshare", "ptrace", "mount", "setuid", "pdeathsig", "chroot")
    }
    identity = app.call("identity")
    assert identity.pop("uid") != 0
    assert identity == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1", "Seccomp": "2"}
    assert app.call("kill", [host.pid("neighbour"), os.getpid()]) == [["ProcessLookupError", 3]] * 2


def test_one_that_closes_its_pipes_is_ended(admin: Person, host: RunningHost) -> None:
    app = python(admin, "closer", "def close(params):\n    os.close(params['stream'])\n    time.sleep(60)")
    assert "it closed its standard output" in crashes(app, lambda: app.rpc("close", {"stream": 1}), host)
    eventually(lambda: app.status() == "running")

    def stop_reading() -> None:
        with pytest.raises(Failed):
            host.do(host.host.rpc(DEFAULT_TENANT, "closer", "close", {"stream": 0}, None, 1))
        app.rpc("echo")

    assert "it closed its standard input" in crashes(app, stop_reading, host)


def test_one_that_does_not_read_is_not_waited_for(admin: Person, host: RunningHost) -> None:
    source = "setInterval(() => {}, 1000)"
    deployed(admin, "deaf", source)
    large = {"text": "x" * 900_000}
    for _ in range(2):  # what the pipe and our own buffer take
        with pytest.raises(Failed, match="rpc timeout"):
            host.do(host.host.rpc(DEFAULT_TENANT, "deaf", "m", large, None, 0.2))
    began = time.monotonic()
    with pytest.raises(Failed, match="did not read its input for 5 s"):
        host.do(host.host.rpc(DEFAULT_TENANT, "deaf", "m", large, None, 20))
    assert 4 < time.monotonic() - began < 7


def test_nonsense_on_its_output_is_a_log_line(admin: Person, host: RunningHost) -> None:
    lines = [
        '{"type": "rpc_response"}', '{"type": "rpc_response", "id": {}, "result": 1}', '{"type": 7}', "{}", "[1]",
        "null",
        '{"type": "collection_op", "id": 5}', '{"type": "collection_op", "id": "x", "op": [], "entity": {}, "data": 1}',
        '{"type": "agent_done", "invoke_id": "nobody"}', '{"type": "log", "level": 7, "message": ["no text"]}',
        '{"type": "log", "level": "shout", "message": "hey"}', '{"type": "discover", "protocol": "many"}',
        '{"type": "event"}', '{"type": "self_action", "id": "y", "action": null, "params": []}',
        '{"type": "sql_exec", "id": "z"}', '{"type": "storage_upload", "id": "s", "size": -1}', "[" * 5000,
        '{"a":' * 2000, '{"type": "log", "message": "\\ud800"}',
    ]  # fmt: skip
    app = python(
        admin,
        "babbler",
        f"def babble(params):\n    os.write(1, b'\\xff\\xfe\\n\\x00\\n' + ({lines!r} and "
        f"'\\n'.join({lines!r}).encode()) + b'\\n')\n    return 'done'",
    )
    with listening(admin, "babbler") as log:
        assert app.call("babble") == "done"
        assert app.call("echo", {"still": "here"}) == {"still": "here"}
        eventually(lambda: "hey" in log.messages("info"))
        assert "event" in [line["level"] for line in log.lines]
        assert '{"type": 7}' in log.messages("stdout")
    assert app.status() == "running"


def test_it_cannot_answer_for_others_or_ask_without_end(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "asker",
        "def ask(params):\n"
        "    with open(1, 'w', closefd=False) as raw:\n"
        "        for n in range(5000):\n"
        "            request = {'type': 'collection_op', 'id': f'q{n}', 'op': 'find', 'entity': 'e', 'data': {}}\n"
        "            raw.write(json.dumps(request) + '\\n')\n"
        "    return 'asked'",
    )
    assert app.call("ask") == "asked"
    assert app.call("echo", {"x": 1}) == {"x": 1}


def test_disks_are_bounded(admin: Person, host: RunningHost) -> None:
    app = python(
        admin,
        "hoarder",
        "def fill(params):\n"
        "    with open('/tmp/big', 'wb') as file:\n"
        "        for _ in range(200): file.write(b'x' * 2**20)",
        "def many(params):\n    for n in range(100_000): open(f'/tmp/{n}', 'w').close()",
    )
    assert re.search(r"No space left|File too large", app.error("fill"))
    assert "No space left" in app.error("many")
