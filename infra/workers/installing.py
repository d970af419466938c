"""Installing the packages that an app's `package.json` names, by Deno's npm support, in the sandbox."""

import asyncio
import json
import os
import shutil
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path

from infra.workers.egress import Policy, WayOut
from infra.workers.runtimes import INSTALLER_CACHE, installer
from infra.workers.sandbox import LaunchFailed, Sandbox

INSTALL_S_MAX = 240.0
INSTALLED_BYTES_MAX = 1024 * 2**20
LOOK_S = 1.0
TAKEN = ("package.json", "deno.lock", ".npmrc")  # what of the app the installer sees
MODULES = "node_modules"
WORDS_MAX = 1_000


class InstallFailed(Exception):
    """Packages that could not be installed; the text is for who deploys."""


def wants_packages(app: Path) -> bool:
    """Whether there is something to install: an archive may bring its packages along. Raises InstallFailed."""
    path = app / "package.json"
    if not path.is_file() or (app / MODULES).exists():
        return False
    try:
        told = json.loads(path.read_bytes())
    except (ValueError, RecursionError):
        raise InstallFailed("package.json is not JSON") from None
    return isinstance(told, dict) and bool(told.get("dependencies"))


async def install(app: Path, scratch: Path, sandbox: Sandbox, policy: Policy, registry: str | None) -> None:
    """Put the packages beside the app's code; `scratch` is a folder of its own for it. Raises InstallFailed."""
    await asyncio.to_thread(_prepare, app, scratch)
    environment = {} if registry is None else {"NPM_CONFIG_REGISTRY": registry}
    try:
        async with AsyncExitStack() as stack:
            jailed = await sandbox.launch(installer(scratch, environment, namespaces=sandbox.namespaces))
            stack.callback(sandbox.release, jailed)
            if jailed.way_out is not None:
                way_out = WayOut(policy)
                await way_out.open(jailed.way_out)
                stack.push_async_callback(way_out.close)
            watching = asyncio.create_task(_watch(scratch))
            stack.callback(watching.cancel)
            running = asyncio.create_task(jailed.process.communicate())
            stack.callback(running.cancel)
            await asyncio.wait({running, watching}, timeout=INSTALL_S_MAX, return_when=asyncio.FIRST_COMPLETED)
            if watching.done():
                raise InstallFailed(f"the packages take more than {INSTALLED_BYTES_MAX} bytes")
            if not running.done():
                raise InstallFailed(f"the packages were not there after {INSTALL_S_MAX:g} s")
            if jailed.process.returncode != 0:
                raise InstallFailed(_said(running.result()))
    except LaunchFailed as problem:
        raise InstallFailed(str(problem)) from problem
    await asyncio.to_thread(_take, scratch, app)


def _prepare(app: Path, scratch: Path) -> None:
    scratch.mkdir(mode=0o700)
    for name in TAKEN:
        if (app / name).is_file():
            shutil.copyfile(app / name, scratch / name)
            (scratch / name).chmod(0o644)
    scratch.chmod(0o777)  # the installer has an account of its own; nobody else comes through the folder above


async def _watch(folder: Path) -> None:
    """Until more is there than may be."""
    while await asyncio.to_thread(_size, folder) <= INSTALLED_BYTES_MAX:  # noqa: ASYNC110
        await asyncio.sleep(LOOK_S)


def _size(folder: Path) -> int:
    total = 0
    for at, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(at, name)).st_size
            except OSError:
                continue  # it is being worked on
    return total


def _said(outputs: Sequence[bytes]) -> str:
    words = " ".join(b" ".join(outputs).decode(errors="replace").split())
    return f"the packages could not be installed: {words[:WORDS_MAX] or 'the installer did not say why'}"


def _take(scratch: Path, app: Path) -> None:
    """Move what was installed over, as our own and readable for whoever runs the app."""
    shutil.rmtree(scratch / INSTALLER_CACHE, ignore_errors=True)
    modules = scratch / MODULES
    if not modules.is_dir():
        return
    for at, folders, names in os.walk(modules):
        for name in (*folders, *names, "."):
            path = os.path.join(at, name)
            if not os.path.islink(path):
                os.chown(path, os.geteuid(), os.getegid())
                mode = os.stat(path).st_mode
                os.chmod(path, 0o755 if os.path.isdir(path) or mode & 0o100 else 0o644)
    modules.rename(app / MODULES)
