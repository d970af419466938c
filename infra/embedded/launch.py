"""The first thing a child of ours runs: it binds its life to ours, takes its account, and becomes the program.

    launch.py PARENT SIGNAL ACCOUNT FOLDER PROGRAM [ARGUMENT ...]

A program of its own, not `preexec_fn`: that would run Python between fork and exec, which can hang while other threads
hold locks. It imports nothing of ours and runs without site-packages, so it costs about 12 ms.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
CLONE_NEWUSER = 0x1000_0000
INSIDE_UID = 1000


def main(parent: str, death_signal: str, account: str, folder: str, *program: str) -> None:
    if account == "namespace":
        _enter_namespace()
    elif account != "same":
        uid, gid = map(int, account.split(":"))
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    # After the change of account, which would clear it.
    if sys.platform == "linux":
        _checked(ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, int(death_signal), 0, 0, 0))
        if os.getppid() != int(parent):
            sys.exit("the process that started this one is gone")
    os.chdir(folder)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # Python ignores it, and an ignored signal outlives exec
    os.execv(program[0], program)


def _enter_namespace() -> None:
    """A user namespace where root is called 1000: PostgreSQL sees no root, and files stay root's."""
    uid, gid = os.getuid(), os.getgid()
    _checked(ctypes.CDLL(None, use_errno=True).unshare(CLONE_NEWUSER))
    _write("/proc/self/setgroups", "deny")
    _write("/proc/self/uid_map", f"{INSIDE_UID} {uid} 1")
    _write("/proc/self/gid_map", f"{INSIDE_UID} {gid} 1")


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)


def _checked(result: int) -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        sys.exit(f"cannot become the program: {problem}")
