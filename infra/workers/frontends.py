"""The pages of apps, at /apps/{app}/: unpacked where they are served, and open to everybody (RootCX, frontend)."""

import mimetypes
import time
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote
from uuid import UUID

from starlette.requests import Request
from starlette.responses import FileResponse, PlainTextResponse, RedirectResponse, Response

from domain.apps.manifest import NAME
from domain.kernel.errors import DomainError, Invalid, Reason, Unavailable
from domain.kernel.model import DEFAULT_TENANT
from domain.kernel.unit import Statement
from domain.storage.blobs import Content
from domain.storage.ports import BlobStore
from infra.logs import get_logger
from infra.workers.leases import Fetch
from infra.workers.unpacking import BadArchive, Unreadable
from infra.workers.versions import Versions

PREFIX = "/apps/"
INDEX = "index.html"
TRUSTED_S = 1.0
REMEMBERED_MAX = 1_000
CLEAN_S = 60.0

FOR_A_YEAR = "public, max-age=31536000, immutable"
FOR_A_MINUTE = "public, max-age=60, must-revalidate"

_DEPLOYED_SQL = (
    "SELECT blob_id, size_bytes FROM stoa.app_deployments WHERE tenant_id = $1 AND app_id = $2 AND part = $3"
)
_ALL_SQL = "SELECT blob_id FROM stoa.app_deployments WHERE part = $1"
FRONTEND = "frontend"

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Known:
    """The archive of an app's pages, None where there are none, and until when we believe it."""

    blob_id: UUID | None
    size_bytes: int
    until: float


class Frontends:
    """See `domain.workers.ports.Frontends`; and an endpoint for everything below `PREFIX`."""

    def __init__(self, folder: Path, blobs: BlobStore, fetch: Fetch) -> None:
        self._folder = folder
        self._blobs = blobs
        self._fetch = fetch
        self._unpacked: Versions | None = None
        self._known: dict[str, _Known] = {}
        self._cleaned = time.monotonic()

    @property
    def _versions(self) -> Versions:
        if self._unpacked is None:  # most processes never serve one
            self._unpacked = Versions(self._folder, self._blobs)
        return self._unpacked

    async def check(self, content: Content) -> None:
        """Raises Invalid on `archive`, Unavailable."""
        try:
            await self._versions.get(content.id, content.id, content.size_bytes)
        except Unreadable as problem:
            raise Invalid("archive", str(problem), reason=Reason.ARCHIVE_UNREADABLE) from problem
        except BadArchive as problem:
            raise Invalid("archive", str(problem)) from problem
        except OSError as problem:
            log.exception("frontend_not_unpacked")
            raise Unavailable("the pages cannot be kept at the moment, try again", retry_after_s=5) from problem

    async def __call__(self, request: Request) -> Response:
        """A file of an app's pages; its index where there is no such file."""
        if request.method not in ("GET", "HEAD"):
            return PlainTextResponse("method not allowed", 405, {"allow": "GET, HEAD"})
        app_id, slash, rest = request.url.path.removeprefix(PREFIX).partition("/")
        path: str = request.scope["path"].removeprefix(PREFIX).partition("/")[2]
        if not NAME.fullmatch(app_id) or _leads_out(path):
            return _nothing()
        try:
            return await self._answer(request, app_id, path, redirect=not slash and not rest)
        except DomainError as problem:
            log.warning("frontend_not_served", app=app_id, reason=problem.message)
            return PlainTextResponse("not available at the moment", 503, {"retry-after": "5"})
        except (BadArchive, OSError):
            log.exception("frontend_not_served", app=app_id)
            return PlainTextResponse("not available at the moment", 503, {"retry-after": "5"})

    async def _answer(self, request: Request, app_id: str, path: str, *, redirect: bool) -> Response:
        known = await self._deployed(app_id)
        if known.blob_id is None:
            return _nothing()
        if redirect:
            return RedirectResponse(f"{PREFIX}{quote(app_id)}/", 308)
        folder = await self._versions.get(known.blob_id, known.blob_id, known.size_bytes)
        file = folder.joinpath(*path.split("/"))
        found = bool(path) and path != INDEX and _is_file(file)
        if not found:
            file = folder / INDEX
        if not _is_file(file):
            return _nothing()
        tag = f'"{known.blob_id.hex}-{file.stat().st_size:x}-{quote(path if found else INDEX, safe="")}"'
        headers = {"cache-control": FOR_A_YEAR if found else FOR_A_MINUTE, "etag": tag}
        if tag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        return FileResponse(file, headers=headers, media_type=_media_type(file.name))

    async def _deployed(self, app_id: str) -> _Known:
        known = self._known.get(app_id)
        now = time.monotonic()
        if known is None or known.until < now:
            rows = await self._fetch(Statement(_DEPLOYED_SQL, (DEFAULT_TENANT, app_id, FRONTEND)))
            blob_id, size_bytes = (rows[0]["blob_id"], rows[0]["size_bytes"]) if rows else (None, 0)
            if len(self._known) >= REMEMBERED_MAX:
                self._known.clear()
            known = self._known[app_id] = _Known(blob_id, size_bytes, now + TRUSTED_S)
            if now - self._cleaned > CLEAN_S:
                self._cleaned = now
                rows = await self._fetch(Statement(_ALL_SQL, (FRONTEND,)))
                await self._versions.keep_only([row["blob_id"] for row in rows])
        return known

    def forget(self, app_id: str) -> None:
        """Look again which version is in use."""
        self._known.pop(app_id, None)


def _leads_out(path: str) -> bool:
    return ".." in path.split("/") or "\\" in path or "\x00" in path or len(path) > 2_000


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name that no file can have
        return False


def _media_type(name: str) -> str:
    kind, _ = mimetypes.guess_type(name)
    return kind or "application/octet-stream"


def _nothing() -> Response:
    return PlainTextResponse("not found", 404)
