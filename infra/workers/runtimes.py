"""What deployed code may be written in: which files an app begins with, and how each kind is run."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from infra.workers.sandbox import PYTHON, WAY_OUT_PORT, Program, python_files

# In the order RootCX looks for them (worker protocol, start); those of Python are our addition.
JAVASCRIPT = ("index.ts", "index.js", "main.ts", "main.js", "src/index.ts", "src/index.js")
PYTHON_FILES = ("main.py", "app.py")
ENTRY_POINTS = (*JAVASCRIPT, *PYTHON_FILES)

PRELUDE = Path(__file__).parent / "prelude"

# Inside of the sandbox.
APP, INSTALLED = "/app", "/run/stoa"
DENO = f"{INSTALLED}/deno"
WORK, INSTALLER_CACHE = "/work", ".cache"
PATH = "/usr/local/bin:/usr/bin:/bin"

# For Deno itself: plain text, no news of itself, and the certificates of the system beside its own.
DENO_HABITS = {"NO_COLOR": "1", "DENO_NO_UPDATE_CHECK": "1", "DENO_TLS_CA_STORE": "mozilla,system"}

OPEN_FILES_MAX = 256
PROCESSES_MAX = 64  # threads count
FILE_BYTES_MAX = 64 * 2**20
# Beside an app's own memory: the runtime's code, its compiler's, and a stack for each thread.
RUNTIME_BYTES = 512 * 2**20
INSTALLER_BYTES_MAX = 2 * 2**30

# Networks that deployed code must not reach where it has no network of its own: loopback, private, shared, link-local,
# documentation, multicast, reserved (the special-purpose registries of IANA, RFC 6890).
INWARD = (
    *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.0.0.0/24"),
    *("192.0.2.0/24", "192.168.0.0/16", "198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3"),
    *("[::]", "[::1]"),  # Deno takes no ranges of IPv6: private ones stay open there
)


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a worker may use: bytes of memory, and whether it may reach the Internet."""

    memory_bytes: int
    network: bool


def entry_point_of(folder: Path) -> str | None:
    """The file that an app begins with, or None."""
    return next((name for name in ENTRY_POINTS if (folder / name).is_file()), None)


def is_python(entry_point: str) -> bool:
    """Whether that file is run by Python."""
    return PurePosixPath(entry_point).suffix == ".py"


def program(
    folder: Path, entry_point: str, environment: Mapping[str, str], allowance: Allowance, *, namespaces: bool
) -> Program:
    """How the app in `folder` is run."""
    make = _python if is_python(entry_point) else _javascript
    return make(folder, entry_point, environment, allowance, namespaces)


def _limits(memory_bytes: int) -> dict[str, int]:
    return {
        "CORE": 0,
        "NOFILE": OPEN_FILES_MAX,
        "NPROC": PROCESSES_MAX,
        "FSIZE": FILE_BYTES_MAX,
        "DATA": memory_bytes,
        "MEMLOCK": 0,
        "MSGQUEUE": 0,
    }


def _environment(given: Mapping[str, str], *, way_out: bool) -> dict[str, str]:
    """What a program finds beside what it is given; the other way round, nothing of the app's could be believed."""
    proxy = f"http://127.0.0.1:{WAY_OUT_PORT}"
    names = ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy") if way_out else ()
    return {**given, "PATH": PATH, "HOME": "/tmp", "TMPDIR": "/tmp", "LANG": "C.UTF-8", **dict.fromkeys(names, proxy)}


def _python(
    folder: Path, entry_point: str, environment: Mapping[str, str], allowance: Allowance, namespaces: bool
) -> Program:
    prelude = f"{INSTALLED}/prelude.py"
    return Program(
        command=[PYTHON, "-I", "-S", "-B", "-u", "-X", "utf8", prelude, f"{APP}/{entry_point}"],
        environment=_environment(environment, way_out=allowance.network),
        folder=APP,
        shown=[*python_files(), (str(PRELUDE / "prelude.py"), prelude), (str(folder), APP)],
        limits=_limits(allowance.memory_bytes) | {"AS": allowance.memory_bytes + RUNTIME_BYTES},
        way_out=allowance.network,
    )


@dataclass(frozen=True, slots=True)
class _Places:
    """Where things are, as the program sees them."""

    app: str = APP
    deno: str = DENO
    prelude: str = f"{INSTALLED}/prelude.js"


def _javascript(
    folder: Path, entry_point: str, environment: Mapping[str, str], allowance: Allowance, namespaces: bool
) -> Program:
    at = _Places() if namespaces else _Places(str(folder), deno_binary(), str(PRELUDE / "prelude.js"))
    reads = [at.app, *(["/tmp"] if namespaces else [])]
    net = ["--allow-net", *([] if namespaces else [f"--deny-net={','.join(INWARD)}"])] if allowance.network else []
    flags = [
        *("--quiet", "--no-prompt", "--no-config", "--no-lock", "--no-remote", "--cached-only", "--no-check"),
        *("--unstable-sloppy-imports", "--unstable-detect-cjs", "--unstable-bare-node-builtins"),
        *(["--node-modules-dir=manual"] if (folder / "package.json").is_file() else []),
        f"--v8-flags=--max-old-space-size={allowance.memory_bytes // 2**20}",
        f"--preload={at.prelude}",
        *("--allow-env", f"--allow-read={','.join(reads)}", *net),
        *(["--allow-write=/tmp", "--allow-sys"] if namespaces else []),
    ]
    own = {**DENO_HABITS, "DENO_DIR": "/tmp/deno" if namespaces else "/dev/null"}
    return Program(
        command=[at.deno, "run", *flags, f"{at.app}/{entry_point}"],
        environment=_environment(environment, way_out=namespaces and allowance.network) | own,
        folder=at.app,
        shown=[(deno_binary(), DENO), (str(PRELUDE / "prelude.js"), f"{INSTALLED}/prelude.js"), (str(folder), APP)],
        limits=_limits(allowance.memory_bytes + RUNTIME_BYTES),
        way_out=allowance.network,
    )


def installer(folder: Path, environment: Mapping[str, str], *, namespaces: bool) -> Program:
    """How the packages are installed that the `package.json` in `folder` names. None of their code is run."""
    at, deno = (WORK, DENO) if namespaces else (str(folder), deno_binary())
    own = {**DENO_HABITS, "DENO_DIR": f"{at}/{INSTALLER_CACHE}"}
    return Program(
        command=[deno, "install", "--quiet", "--node-modules-dir=auto"],
        environment=_environment(environment, way_out=namespaces) | own,
        folder=at,
        shown=[(deno_binary(), DENO)],
        writable=[(str(folder), WORK)],
        limits=_limits(INSTALLER_BYTES_MAX),
    )


@cache
def deno_binary() -> str:
    """Where the `deno` wheel has put its program."""
    import deno

    return str(deno.find_deno_bin())
