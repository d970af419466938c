"""Which account an embedded engine runs under. PostgreSQL refuses root; we never open up folders that aren't ours."""

import os
import pwd
import sys
from dataclasses import dataclass
from pathlib import Path

from infra.embedded.child import Child
from infra.failure import Failure

UNPRIVILEGED = ("postgres", "nobody")


@dataclass(frozen=True)
class Account:
    """`argument` is what launch.py understands; `uid` and `gid` own the engine's files, seen from here."""

    argument: str
    uid: int
    gid: int


def _own() -> Account:
    return Account("same", os.geteuid(), os.getegid())


def _namespace() -> Account:
    return Account("namespace", os.geteuid(), os.getegid())


def _switched(uid: int, gid: int) -> Account:
    return Account(f"{uid}:{gid}", uid, gid)


def settle(folder: Path, program: Path, instead: str) -> Account:
    """The account that can run `program` in `folder`, which is made when it is missing. Raises Failure, which also
    names the setting to use `instead`.

    A folder in use keeps its account: whoever owns it.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    if any(folder.iterdir()):
        account = _owner(folder)
        if _works(account, folder, program):
            return account
    else:
        for account in _candidates():
            if _given(folder, account) and _works(account, folder, program):
                return account
        folder.rmdir()
    raise Failure(_unreachable(folder, program, instead))


def _candidates() -> list[Account]:
    if os.geteuid() != 0:
        return [_own()]
    known = {entry.pw_name: entry for entry in pwd.getpwall()}
    found = [_switched(known[name].pw_uid, known[name].pw_gid) for name in UNPRIVILEGED if name in known]
    return [*found, _namespace()] if sys.platform == "linux" else found


def _owner(folder: Path) -> Account:
    status = folder.stat()
    if os.geteuid() == 0:
        return _switched(status.st_uid, status.st_gid) if status.st_uid != 0 else _namespace()
    if status.st_uid != os.geteuid():
        raise Failure(
            f"{folder} belongs to user id {status.st_uid} and this process runs as {os.geteuid()}:"
            " start it as that user, or set STOA_DATA_DIR to another folder"
        )
    return _own()


def _given(folder: Path, account: Account) -> bool:
    """Whether it could be made the account's; root without all of its rights, as in some containers, cannot."""
    try:
        os.chown(folder, account.uid, account.gid)
    except OSError:
        return False
    return True


def _works(account: Account, folder: Path, program: Path) -> bool:
    """Whether it can enter the folder and run the program: the only sure way to know is to try."""
    if account.argument == "same":
        return True
    trial = Child(program.name, [str(program), "--version"], folder, account=account.argument, log=Path(os.devnull))
    trial.launch()
    return trial.wait(10) == 0


def _unreachable(folder: Path, program: Path, instead: str) -> str:
    return (
        f"started as root, {program.name} runs under another account, and none can reach both {folder} and {program}:"
        " set STOA_DATA_DIR to a folder that others may enter (/var/lib/stoa), start as another user,"
        f" or set {instead} to a server of yours"
    )
