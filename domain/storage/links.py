"""Signed URLs: what their bearer may do with one file, by one method, for a while, without an account.

Nothing of them is stored. The token says what it is for under our seal, so that no part of it can be changed; what it
leads to is looked up when it is used, and gone when that is. Writing works once, since the id of the file to be is in
the token.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any
from uuid import UUID

import orjson

from domain.kernel.ctx import Ctx
from domain.kernel.errors import Gone, Invalid, Missing
from domain.kernel.upload import Upload
from domain.storage import app_files, objects
from domain.storage.app_files import NewAppFile
from domain.storage.model import AppFile, StorageObject
from domain.storage.names import is_harmless
from domain.storage.objects import NewFile

LIFE_S_DEFAULT = 15 * 60
LIFE_S_MAX = 3600
TOKEN_CHARS_MAX = 4096


class Method(StrEnum):
    """What a token is good for. Each method has a seal of its own."""

    READ = "file:read"
    WRITE = "file:write"


class Kind(StrEnum):
    """Which files a token leads to."""

    OBJECT = "object"
    APP_FILE = "app_file"


TABLES: Mapping[Kind, type[StorageObject] | type[AppFile]] = {Kind.OBJECT: StorageObject, Kind.APP_FILE: AppFile}
NEW: Mapping[Kind, type[NewFile] | type[NewAppFile]] = {Kind.OBJECT: NewFile, Kind.APP_FILE: NewAppFile}

StoredFile = StorageObject | AppFile


@dataclass(frozen=True, slots=True)
class Opened:
    """A file that may be read until then. `inline` is that it should be shown where it is met."""

    row: StoredFile
    inline: bool
    expires_at: datetime

    @property
    def shown(self) -> bool:
        """Whether it is shown where it is met, and not saved."""
        return self.inline and is_harmless(self.row.media_type)


def reading(ctx: Ctx, file: StoredFile, *, life_s: int = LIFE_S_DEFAULT, inline: bool = False) -> str:
    """A token to read this file, which the caller was found to be allowed to. Raises Invalid on `expiresIn`."""
    return resealed(ctx, Opened(file, inline, _end(ctx, life_s)))


def resealed(ctx: Ctx, opened: Opened) -> str:
    """A token for what was opened with one, good for as long and no longer."""
    kind = Kind.OBJECT if isinstance(opened.row, StorageObject) else Kind.APP_FILE
    what = {"id": opened.row.id, "inline": opened.inline}
    return _sealed(ctx, Method.READ, kind, opened.row.tenant_id, opened.expires_at, what)


async def opened(ctx: Ctx, token: str) -> Opened:
    """What a token lets its bearer read. Raises Missing, Gone."""
    kind, what, expires_at = _unsealed(ctx, Method.READ, token)
    table = TABLES[kind]
    row = await ctx.first(ctx.visible(table).where(table.id == UUID(what["id"])))
    if row is None:
        raise _no_such_file()
    return Opened(row, what["inline"], expires_at)


def writing(ctx: Ctx, new: NewFile | NewAppFile, *, life_s: int = LIFE_S_DEFAULT) -> str:
    """A token to send the bytes of this file, once. Raises Invalid on `expiresIn`."""
    kind = Kind.OBJECT if isinstance(new, NewFile) else Kind.APP_FILE
    return _sealed(ctx, Method.WRITE, kind, ctx.tenant_id, _end(ctx, life_s), asdict(new))


async def received(ctx: Ctx, token: str, file: Upload) -> StoredFile:
    """The file that a token lets its bearer send. Raises Missing, Gone, and what `receive` of its kind raises."""
    kind, what, _ = _unsealed(ctx, Method.WRITE, token)
    ids = {name: UUID(what[name]) for name in ("id", "parent_id", "uploaded_by") if what.get(name) is not None}
    new = NEW[kind](**{**what, **ids})
    if isinstance(new, NewFile):
        return await objects.receive(ctx, new, file)
    return await app_files.receive(ctx, new, file)


def _end(ctx: Ctx, life_s: int) -> datetime:
    if not 1 <= life_s <= LIFE_S_MAX:
        raise Invalid("expiresIn", f"expiresIn must be between 1 and {LIFE_S_MAX} seconds")
    return ctx.now + timedelta(seconds=life_s)


def _sealed(ctx: Ctx, method: Method, kind: Kind, tenant_id: UUID, end: datetime, what: Mapping[str, Any]) -> str:
    return ctx.ports.seal.seal(orjson.dumps([kind, tenant_id, end.timestamp(), what], default=str), method)


def _unsealed(ctx: Ctx, method: Method, token: str) -> tuple[Kind, dict[str, Any], datetime]:
    """What a token says; the operation goes on in the tenant it names. Raises Missing, Gone."""
    payload = ctx.ports.seal.unseal(token, method) if len(token) <= TOKEN_CHARS_MAX else None
    if payload is None:
        raise _no_such_file()
    kind, tenant_id, end, what = orjson.loads(payload)
    expires_at = datetime.fromtimestamp(end, ctx.now.tzinfo)
    if expires_at <= ctx.now:
        raise Gone("the URL has expired, ask for another one")
    ctx.enter(UUID(tenant_id))
    return Kind(kind), what, expires_at


def _no_such_file() -> Missing:
    return Missing("there is no such file, or its URL was changed")
