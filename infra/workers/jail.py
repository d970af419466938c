"""The first thing a worker's process runs: it closes the door behind itself and becomes the deployed app.

    jail.py CONTROL

CONTROL is the descriptor of a socket to the host. A JSON object comes in over it (see `Plan` in `sandbox.py`); out go
a byte for how far it came, the descriptor of the app's process, and that of the socket its way out listens on.

With namespaces the app sees a file system of its own (the runtime, its code, a small /tmp), processes of its own and a
network of its own, in which only our way out listens. Everywhere it runs with bounded resources, without rights, and
without the system calls that nothing we run needs. A program of its own for the reasons `launch.py` gives.
"""

import ctypes
import fcntl
import json
import os
import platform
import resource
import signal
import socket
import struct
import sys
from contextlib import suppress

PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, PR_CAPBSET_DROP = 1, 38, 22, 24
CLONE_NEWNS, CLONE_NEWUTS, CLONE_NEWIPC = 0x0002_0000, 0x0400_0000, 0x0800_0000
CLONE_NEWUSER, CLONE_NEWPID, CLONE_NEWNET = 0x1000_0000, 0x2000_0000, 0x4000_0000
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC, MS_REMOUNT, MS_BIND = 1, 2, 4, 8, 32, 4096
MS_REC, MS_PRIVATE = 16384, 1 << 18
MNT_DETACH = 2
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1
CAPABILITIES = 64

INSIDE_UID = 1000  # what the app's account is called in a user namespace
DEVICES = ("null", "zero", "full", "random", "urandom")

READY, GOING = b"+", b"!"  # on the control socket: the descriptors are there; the next thing is the app itself

libc = ctypes.CDLL(None, use_errno=True)


def main(control: str) -> None:
    host = socket.socket(fileno=int(control))
    plan = json.loads(_received(host))
    os.setsid()
    _die_with(plan["parent"])
    if plan["namespaces"]:
        _enter_namespaces(plan)
        way_out = _open_way_out(plan)
        _become_first_process(host, way_out)
        _build_file_system(plan)
    else:
        host.sendmsg([READY])
    os.chdir(plan["folder"])
    _give_up_rights(plan)
    host.sendall(GOING)
    host.close()
    os.execve(plan["command"][0], plan["command"], plan["environment"])


def _received(host: socket.socket) -> bytes:
    """Everything until the host has no more to say."""
    parts = []
    while part := host.recv(65536):
        parts.append(part)
    return b"".join(parts)


def _die_with(parent: "int | None") -> None:
    _checked(libc.prctl(PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0))
    if parent is not None and os.getppid() != parent:
        sys.exit("the process that started this one is gone")


# Namespaces.


def _enter_namespaces(plan: dict) -> None:
    uid, gid = os.getuid(), os.getgid()
    own = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS
    if plan["uid"] is None:  # we are nobody special: a user namespace makes us master of the others
        own |= CLONE_NEWUSER
    _checked(libc.unshare(own))
    if plan["uid"] is None:
        _write("/proc/self/setgroups", "deny")
        _write("/proc/self/uid_map", f"{INSIDE_UID} {uid} 1")
        _write("/proc/self/gid_map", f"{INSIDE_UID} {gid} 1")


def _open_way_out(plan: dict) -> "socket.socket | None":
    """A socket that listens inside of the new network; the host, outside of it, takes its connections."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        request = struct.pack("16sH22x", b"lo", 0)
        (flags,) = struct.unpack("16xH22x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, request))
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH22x", b"lo", flags | IFF_UP))
    if plan["way_out_port"] is None:
        return None
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.bind(("127.0.0.1", plan["way_out_port"]))
    listening.listen(64)
    return listening


def _become_first_process(host: socket.socket, way_out: "socket.socket | None") -> None:
    """Go on as the first process of the new process namespace: when it ends, the kernel ends all others there.

    The process we were stays to tell of its end, and is what the host waits for.
    """
    heard, telling = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(telling)
        _die_with(None)
        if not os.read(heard, 1):  # once the host has our descriptor
            sys.exit("the process that started this one is gone")
        os.close(heard)
        if way_out is not None:
            way_out.close()
        return
    os.close(heard)
    descriptors = [os.pidfd_open(pid), *([way_out.fileno()] if way_out is not None else [])]
    host.sendmsg([READY], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(descriptors)}i", *descriptors))])
    os.write(telling, b"+")
    for stream in (0, 1, 2, telling):  # the first three are the app's alone: a pipe must close when it closes it
        os.close(stream)
    for shared in (host, way_out):
        if shared is not None:
            shared.close()
    _, status = os.waitpid(pid, 0)
    os._exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))


def _build_file_system(plan: dict) -> None:
    """Move into a root that holds what the plan names, and let go of the old one."""
    root = plan["root"]
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", root, "tmpfs", MS_NOSUID | MS_NODEV, "size=1m,mode=755")
    for source, target in plan["shown"]:
        _show(source, root + target, MS_RDONLY)
    for source, target in plan["writable"]:
        _show(source, root + target, 0)
    for name in DEVICES:
        _touch(f"{root}/dev/{name}")
        _mount(f"/dev/{name}", f"{root}/dev/{name}", None, MS_BIND)
    for target, path in plan["links"]:
        os.makedirs(os.path.dirname(root + path), exist_ok=True)
        os.symlink(target, root + path)
    for path, text in plan["files"]:
        _touch(root + path)
        _write(root + path, text)
    os.mkdir(f"{root}/tmp")
    _mount("tmpfs", f"{root}/tmp", "tmpfs", MS_NOSUID | MS_NODEV, f"size={plan['tmp_bytes']},nr_inodes=20000,mode=1777")
    os.mkdir(f"{root}/proc")
    with suppress(OSError):  # a container that hides parts of its own forbids a new one; runtimes get by without
        _mount("proc", f"{root}/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    os.mkdir(f"{root}/old")
    _checked(libc.pivot_root(os.fsencode(root), os.fsencode(f"{root}/old")))
    os.chdir("/")
    _checked(libc.umount2(b"/old", MNT_DETACH))
    os.rmdir("/old")
    _mount(None, "/", None, MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID | MS_NODEV)


def _show(source: str, target: str, flags: int) -> None:
    """The source at the target."""
    if os.path.isdir(source):
        os.makedirs(target, exist_ok=True)
    else:
        _touch(target)
    _mount(source, target, None, MS_BIND | MS_REC)
    kept = os.statvfs(target).f_flag & (MS_NOEXEC | 0x0400 | 0x0800 | 0x1000)  # what a namespace may not take away
    _mount(None, target, None, MS_REMOUNT | MS_BIND | MS_NOSUID | MS_NODEV | flags | _mount_flags(kept))


def _mount_flags(seen: int) -> int:
    """Flags as `statvfs` tells them (noatime, nodiratime, relatime), as `mount` takes them."""
    pairs = ((MS_NOEXEC, MS_NOEXEC), (0x0400, 1024), (0x0800, 2048), (0x1000, 1 << 21))
    return sum(flag for told, flag in pairs if seen & told)


def _touch(path: str) -> None:
    os.makedirs(os.path.dirname(path), exist_ok=True)
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o644))


def _write(path: str, text: str) -> None:
    handle = os.open(path, os.O_WRONLY)
    os.write(handle, text.encode())
    os.close(handle)


def _mount(source: "str | None", target: str, kind: "str | None", flags: int, options: "str | None" = None) -> None:
    parts = [None if part is None else os.fsencode(part) for part in (source, target, kind)]
    _checked(libc.mount(*parts, ctypes.c_ulong(flags), None if options is None else options.encode()), target)


# Rights and resources.


def _give_up_rights(plan: dict) -> None:
    os.umask(0o077)
    for name, bound in plan["limits"].items():
        resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (bound, bound))
    os.nice(plan["nice"])
    if plan["uid"] is not None:
        for capability in range(CAPABILITIES):
            libc.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # those the kernel doesn't know are not there to be had
        os.setgroups([])
        os.setresgid(plan["uid"], plan["uid"], plan["uid"])
        os.setresuid(plan["uid"], plan["uid"], plan["uid"])
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    _die_with(None)  # the change of account has cleared it
    _checked(libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
    _refuse_system_calls()


X86, ARM = "x86_64", "aarch64"
ARCHITECTURE = {X86: 0xC000_003E, ARM: 0xC000_00B7}
X32 = 0x4000_0000

# What reaches the kernel's less trodden parts, other processes, or the machine: (x86-64, arm64), as in asm/unistd.h.
REFUSED = {
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "pidfd_getfd": (438, 438),
    "unshare": (272, 97), "setns": (308, 268), "chroot": (161, 51), "pivot_root": (155, 41), "mount": (165, 40),
    "umount2": (166, 39), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "keyctl": (250, 219), "add_key": (248, 217), "request_key": (249, 218), "bpf": (321, 280),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "init_module": (175, 105), "finit_module": (313, 273), "delete_module": (176, 106),
    "open_by_handle_at": (304, 265), "swapon": (167, 224), "reboot": (169, 142), "acct": (163, 89),
    "quotactl": (179, 60), "syslog": (103, 116),
}  # fmt: skip
CLONE, CLONE3, SOCKET, PRCTL = (56, 220), (435, 435), (41, 198), (157, 167)
FAMILIES = (socket.AF_UNIX, socket.AF_INET, socket.AF_INET6, socket.AF_NETLINK)  # vsock knows no namespaces
EPERM, ENOSYS, EAFNOSUPPORT = 1, 38, 97

ALLOW, KILL, ERRNO = 0x7FFF_0000, 0x8000_0000, 0x0005_0000
LOAD, JUMP_EQUAL, JUMP_AT_LEAST, JUMP_ANY_BIT, RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
NUMBER_AT, ARCHITECTURE_AT, ARGUMENT_AT = 0, 4, 16


def _refuse_system_calls() -> None:
    """A seccomp filter; on other machines than these two there is none, and the other walls stand alone."""
    machine = platform.machine()
    if machine not in ARCHITECTURE:
        return
    which = (X86, ARM).index(machine)
    program = [
        (LOAD, 0, 0, ARCHITECTURE_AT),
        (JUMP_EQUAL, 1, 0, ARCHITECTURE[machine]),
        (RETURN, 0, 0, KILL),
        (LOAD, 0, 0, NUMBER_AT),
        *_unless(JUMP_AT_LEAST, X32 if machine == X86 else 0xFFFF_FFFF, EPERM),
        *_unless(JUMP_EQUAL, CLONE3[which], ENOSYS),  # its flags are out of sight; libraries fall back to clone
    ]
    for numbers in REFUSED.values():
        program += _unless(JUMP_EQUAL, numbers[which], EPERM)
    program += _on(CLONE[which], _unless(JUMP_ANY_BIT, CLONE_NEWUSER, EPERM))
    program += _on(PRCTL[which], _unless(JUMP_EQUAL, PR_SET_PDEATHSIG, EPERM))
    known = [(JUMP_EQUAL, len(FAMILIES) - position, 0, int(family)) for position, family in enumerate(FAMILIES)]
    program += _on(SOCKET[which], [*known, (RETURN, 0, 0, ERRNO | EAFNOSUPPORT)])
    program.append((RETURN, 0, 0, ALLOW))
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    filter = struct.pack("HxxxxxxP", len(program), ctypes.addressof(buffer))
    _checked(libc.prctl(PR_SET_SECCOMP, 2, ctypes.create_string_buffer(filter), 0, 0))


def _unless(jump: int, value: int, error: int) -> list:
    """Answer with the error when what is loaded meets the value; otherwise go on."""
    return [(jump, 0, 1, value), (RETURN, 0, 0, ERRNO | error)]


def _on(number: int, checks: list) -> list:
    """For this system call: load its first argument and check; for others go on."""
    body = [(LOAD, 0, 0, ARGUMENT_AT), *checks, (LOAD, 0, 0, NUMBER_AT)]
    return [(JUMP_EQUAL, 0, len(body), number), *body]


def _checked(result: int, about: str = "") -> None:
    if result != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), about or None)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except OSError as problem:
        sys.exit(f"cannot enter the sandbox: {problem}")
