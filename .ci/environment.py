"""Make `.venv` what the lock file says: `python3 .ci/environment.py serve|dev`. With nothing to do it takes 30 ms.

It runs on the system's Python, before anything is installed, so it imports the standard library alone.
"""

import contextlib
import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
PYTHON_LEAST = (3, 11)
LOCKS = {"serve": "requirements.lock", "dev": "requirements-dev.lock"}


def main(purpose: str) -> None:
    if sys.version_info < PYTHON_LEAST:
        found = ".".join(map(str, sys.version_info[:3]))
        sys.exit(f"Stoa needs Python 3.11 or newer and this is {found}: make PYTHON=python3.12 ...")
    if not satisfied(purpose):
        with alone():
            if not satisfied(purpose):  # else another make did it while we waited
                build(purpose)


def satisfied(purpose: str) -> bool:
    """The dev environment has all that serving needs."""
    return any(stamp(each).exists() for each in {purpose, "dev"}) and PYTHON.exists()


def stamp(purpose: str) -> Path:
    """Its name says what was installed: by what lock and project file, which Python, and where (venvs don't move)."""
    content = [(ROOT / name).read_bytes() for name in (LOCKS[purpose], "pyproject.toml")]
    content += [os.fsencode(ROOT), sys.version.encode(), os.fsencode(sys.prefix)]
    return VENV / f".{purpose}-{hashlib.sha256(bytes([0]).join(content)).hexdigest()[:16]}"


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """One installation at a time in this folder. The lock is on a file that is there anyway and stays."""
    with (ROOT / "pyproject.toml").open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another make installs into .venv, waiting for it")
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def build(purpose: str) -> None:
    say(f"installing {LOCKS[purpose]} into .venv")
    for old in VENV.glob(".serve-*"), VENV.glob(".dev-*"):
        for path in old:
            path.unlink()
    if not usable():
        shutil.rmtree(VENV, ignore_errors=True)
        # Of the base: the Python that runs this may be the one in the venv that was just removed.
        base = getattr(sys, "_base_executable", sys.executable)
        if subprocess.run([base, "-m", "venv", str(VENV)]).returncode != 0:
            sys.exit("cannot make a virtual environment: is Python's venv module installed? (Debian: python3-venv)")
    pip("--require-hashes", "-r", str(ROOT / LOCKS[purpose]))
    pip("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp(purpose).touch()


def usable() -> bool:
    """Whether the venv is of this Python, and whole enough to hold pip: an installation may have been cut short."""
    if not PYTHON.exists():
        return False
    question = "import pip, sys; print(sys.version, sys.base_prefix, sep='|')"
    answer = subprocess.run([PYTHON, "-c", question], capture_output=True, text=True)
    return answer.stdout.strip() == f"{sys.version}|{sys.base_prefix}"


def pip(*arguments: str) -> None:
    quiet = {"PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_ROOT_USER_ACTION": "ignore", "PIP_NO_INPUT": "1"}
    command = [str(PYTHON), "-m", "pip", "install", "--quiet", *arguments]
    if subprocess.run(command, env={**os.environ, **quiet}).returncode != 0:
        sys.exit("the installation failed, see above; run make again to go on")


def say(what: str) -> None:
    sys.stderr.write(f"stoa: {what}\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
