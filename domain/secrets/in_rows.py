"""Secrets in rows of records: envelopes in columns of type `sealed_value`, under the same master keys as the vault."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from domain.kernel.ctx import Ctx
from domain.kernel.secret import SecretText
from domain.kernel.unit import Statement
from domain.records.naming import quoted
from domain.secrets import service
from domain.secrets.ports import Sealed, Unreadable

_COLUMNS_SQL = """
SELECT n.nspname AS schema, c.relname AS "table", a.attname AS "column", p.tenant_id, p.id AS app_id
FROM pg_attribute a
JOIN pg_class c ON c.oid = a.attrelid AND c.relkind = 'r'
JOIN pg_namespace n ON n.oid = c.relnamespace
JOIN stoa.apps p ON p.schema_name = n.nspname
WHERE a.atttypid = 'stoa.sealed_value'::regtype AND NOT a.attisdropped
ORDER BY 1, 2, a.attnum
"""


async def seal(ctx: Ctx, app_id: str, record_id: str, value: SecretText) -> dict[str, str]:
    """The value of a column, encrypted for this record. Raises Unavailable without the master keys in use."""
    sealed = await service.seal(ctx, value.text.encode(), _place(ctx.tenant_id, app_id, record_id))
    return {
        "key_id": sealed.key_id,
        "wrapped_key": f"\\x{sealed.wrapped_key.hex()}",
        "ciphertext": f"\\x{sealed.ciphertext.hex()}",
    }


def parts_of(sql: str) -> str:
    """SQL of what `revealed` needs of a column."""
    return ", ".join(f"({sql}).{part}" for part in ("key_id", "wrapped_key", "ciphertext"))


def revealed(ctx: Ctx, app_id: str, record_id: str, row: Mapping[str, Any]) -> SecretText | None:
    """The secret in a row's column, None where there is none. Raises Unreadable for one that was tampered with."""
    if row["key_id"] is None:
        return None
    return SecretText(ctx.ports.cipher.unseal(_sealed(row), _place(ctx.tenant_id, app_id, record_id)).decode())


def _sealed(row: Mapping[str, Any]) -> Sealed:
    return Sealed(row["key_id"], row["wrapped_key"], row["ciphertext"])


def _place(tenant_id: UUID, app_id: str, record_id: str) -> bytes:
    return service.place(tenant_id, f"record:{app_id}", record_id, 0)


# Turning the master key.


@dataclass(frozen=True, slots=True)
class _Column:
    """A column of secrets; `table` and `value` are SQL."""

    table: str
    value: str
    tenant_id: UUID
    app_id: str


async def _columns(ctx: Ctx) -> Sequence[_Column]:
    return [
        _Column(f"{quoted(r['schema'])}.{quoted(r['table'])}", quoted(r["column"]), r["tenant_id"], r["app_id"])
        for r in await ctx.fetch(Statement(_COLUMNS_SQL))
    ]


async def key_ids(ctx: Ctx) -> set[str]:
    """The master keys that secrets in rows need."""
    found: set[str] = set()
    for column in await _columns(ctx):
        sql = f"SELECT DISTINCT ({column.value}).key_id AS id FROM {column.table} WHERE {column.value} IS NOT NULL"
        found |= {row["id"] for row in await ctx.fetch(Statement(sql))}
    return found


async def rewrap(ctx: Ctx, key_id: str, most: int) -> int:
    """Put up to `most` secrets in rows under the first master key, `key_id`; how many there were. Raises Unreadable.

    Rows that somebody is just writing are passed over.
    """
    done = 0
    for column in await _columns(ctx):
        sql = (
            f"SELECT ctid::text AS place, id::text AS id, {parts_of(column.value)} FROM {column.table} "
            f"WHERE ({column.value}).key_id <> $1 LIMIT {most - done} FOR UPDATE SKIP LOCKED"
        )
        for row in await ctx.fetch(Statement(sql, (key_id,))):
            place = _place(column.tenant_id, column.app_id, row["id"])
            try:
                sealed = ctx.ports.cipher.rewrapped(_sealed(row), place)
            except Unreadable as broken:
                raise Unreadable(f"{column.value} of {column.table} {row['id']} cannot be read ({broken})") from None
            again = f"UPDATE {column.table} SET {column.value} = ($2::text, $3::bytea, $4::bytea)::stoa.sealed_value"
            values = (row["place"], sealed.key_id, sealed.wrapped_key, sealed.ciphertext)
            await ctx.fetch(Statement(f"{again} WHERE ctid = $1::text::tid", values))
            done += 1
        if done >= most:
            break
    return done
