"""The `stoa` command. Each command imports what it needs itself, so that all of them start at once.

A failure that is expected is one line on standard error: exit code 2 when the caller can put it right, else 1.
"""

import gc
import os
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from infra.failure import Failure, Misuse
from infra.settings import Settings, listing

app = typer.Typer(
    help="Stoa, a GraphQL-first backend platform. Settings come from STOA_* variables: see `stoa settings`.",
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
keys = typer.Typer(help="Signing keys of the data folder.")
app.add_typer(keys, name="keys")
vault = typer.Typer(help="The vault of secrets.")
app.add_typer(vault, name="secrets")


def main() -> None:
    """The console script."""
    try:
        code = app(prog_name="stoa", standalone_mode=False)
    except TyperException as problem:
        context = getattr(problem, "ctx", None)
        _end(f"{problem.format_message().rstrip('.')}; see `{context.command_path if context else 'stoa'} --help`.", 2)
    except Failure as problem:
        _end(str(problem), problem.exit_code)
    else:
        gc.freeze()  # looking for cycles among all that a platform is made of takes longer than stopping does
        sys.exit(code or 0)


def settings_of(**variables: str | None) -> Settings:
    """The settings of this run, options before environment, with the logs set up to them."""
    import infra.logs

    given = {name: text for name, text in variables.items() if text is not None}
    settings = Settings.from_env({**os.environ, **given})
    infra.logs.configure(settings.log_level, settings.log_format)
    return settings


@app.callback(invoke_without_command=True)
def _help(context: typer.Context) -> None:
    if context.invoked_subcommand is None:
        print(context.get_help())


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (STOA_HOST).")] = None,
    port: Annotated[str | None, typer.Option(help="Port to listen on (STOA_PORT).")] = None,
    data_dir: Annotated[str | None, typer.Option(help="Data folder (STOA_DATA_DIR).")] = None,
    worker: Annotated[bool, typer.Option(help="Run a worker beside the server.")] = True,
    application: Annotated[str, typer.Option(hidden=True, help="Application factory, module:function.")] = "",
) -> None:
    """Run the server, a worker, and the embedded engines."""
    from infra.serve import Options
    from infra.serve import serve as run

    settings = settings_of(STOA_HOST=host, STOA_PORT=port, STOA_DATA_DIR=data_dir)
    run(settings, Options(worker=worker, app=application) if application else Options(worker=worker))


@app.command()
def worker() -> None:
    """Run a worker on its own.

    On the engines whose URLs are set, or on those of the server on the same data folder.
    """
    from infra import attach
    from infra import worker as process

    settings = settings_of()
    process.run(settings, *attach.engines(settings))


@app.command()
def migrate() -> None:
    """Bring the database up to this version."""
    import asyncio

    from infra import attach
    from infra.postgres import migrate as migrations

    with attach.database(settings_of()) as url:
        asyncio.run(migrations.upgrade(url))
    print("the database is up to date")


@app.command()
def plan(
    manifest: Annotated[Path, typer.Argument(help="The app's manifest, a JSON file.")],
    sql: Annotated[bool, typer.Option(help="Print the SQL of each step, too.")] = False,
) -> None:
    """Print what installing a manifest would change, without doing it.

    Each step with the object it is about; `loses` where stored values would go with it.
    """
    import asyncio

    from infra import attach, planning

    settings = settings_of()
    declared = planning.manifest_in(manifest)
    with attach.database(settings) as url:
        steps = asyncio.run(planning.steps(url, declared))
    print("\n".join(planning.told(steps, with_sql=sql)))


@app.command()
def revise(message: Annotated[str, typer.Argument(help="What the migration does, in a few words.")]) -> None:
    """Write the next migration (for developers).

    It takes the database from what the migrations make to what the models say; read it before it is committed.
    """
    import asyncio

    from infra import attach
    from infra.postgres import migrate as migrations

    async def write(url: str) -> None:
        await migrations.upgrade(url)
        print(await migrations.revise(url, message))

    with attach.scratch() as url:
        asyncio.run(write(url))


@app.command()
def check() -> None:
    """Whether the platform is whole.

    Every REST document compiles, schema.graphql is what the code makes, models and migrations agree.
    """
    import asyncio

    from infra import attach, checking
    from infra.postgres import migrate as migrations

    routes = len(checking.adapter().routes)
    if difference := checking.schema_difference():
        print("\n".join(difference[:200]))
        raise Failure("schema.graphql is not what the code makes: run `stoa export-schema`")

    async def compared(url: str) -> list[str]:
        await migrations.upgrade(url)
        return await migrations.differences(url)

    with attach.scratch() as url:
        differences = asyncio.run(compared(url))
    if differences:
        print("\n".join(differences))
        raise Failure("the migrations do not make what the models say: run `stoa revise`")
    print(f"{routes} routes compile, schema.graphql is current, models and migrations agree")


@app.command("export-schema")
def export_schema() -> None:
    """Write schema.graphql (for developers)."""
    from graph.schema import build_schema, sdl
    from infra.checking import SCHEMA_FILE

    SCHEMA_FILE.write_text(sdl(build_schema()))
    print(SCHEMA_FILE)


@app.command()
def routes() -> None:
    """Print every REST route: method, path, operation, permission."""
    from infra.checking import route_table

    rows = list(route_table())
    path_width = max(len(path) for _, path, _, _ in rows)
    name_width = max(len(name) for _, _, name, _ in rows)
    for method, path, name, permission in rows:
        print(f"{method:<7} {path:<{path_width}}  {name:<{name_width}}  {permission}")


@app.command()
def openapi(
    system: Annotated[str | None, typer.Argument(help="One system's description; all together without it.")] = None,
) -> None:
    """Print the OpenAPI description as JSON."""
    import orjson

    from infra.checking import openapi as described

    print(orjson.dumps(described(system), option=orjson.OPT_INDENT_2).decode())


@app.command("settings")
def show_settings() -> None:
    """Print every setting, its value and meaning."""
    rows = listing(Settings.from_env(os.environ))
    name_width = max(len(name) for name, _, _ in rows)
    value_width = max(len(value) for _, value, _ in rows)
    for name, value, about in rows:
        print(f"{name:<{name_width}}  {value or '-':<{value_width}}  {about}")


@keys.command("rotate")
def rotate_keys() -> None:
    """Make a new signing key; what the older ones signed stays valid."""
    from infra import keys as key_ring
    from infra.lock import make_folder

    settings = settings_of()
    if settings.keys:
        raise Misuse("the keys come from STOA_SECRET_KEY: put a new one first there, and keep the others after it")
    make_folder(settings.data_dir)
    key = key_ring.rotate(settings.data_dir)
    print(f"key {key.kid} signs from the next start, in {settings.data_dir / key_ring.SIGNING.file_name}")


@vault.command("rotate")
def rotate_vault() -> None:
    """Put every secret under the first master key, while they are in use.

    A new key is made for it where the keys are those of the data folder. Broken off, it goes on when it is run again.
    """
    import asyncio

    from infra import attach
    from infra.keys import MASTER, LiveRing
    from infra.lock import make_folder
    from infra.postgres import migrate as migrations
    from infra.postgres.database import Database
    from infra.secrets.vault import rotate

    settings = settings_of()
    make_folder(settings.data_dir)
    ring = LiveRing(settings.master_keys, settings.data_dir, MASTER)

    async def run(url: str) -> tuple[str, int]:
        await migrations.upgrade(url)
        database = await Database.open(url, 1)
        try:
            return await rotate(database, ring)
        finally:
            await database.close()

    with attach.database(settings) as url:
        key_id, count = asyncio.run(run(url))
    print(f"{count} secrets are now under master key {key_id}; the others in {ring.source} are for older backups only")


@app.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as version_of

    print(f"stoa {version_of('stoa')}, Python {sys.version.split()[0]}")


def _end(message: str, code: int) -> None:
    print(f"stoa: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(code)


if __name__ == "__main__":
    main()
