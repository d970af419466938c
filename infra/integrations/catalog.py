"""The catalog as folders: one for each definition, `manifest.json` in it and maybe code beside.

Those in STOA_CATALOG_DIR go before those that Stoa comes with.
"""

import asyncio
import io
import tarfile
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

import orjson

from domain.integrations.definition import Definition, parse_definition
from domain.kernel.errors import Invalid
from domain.kernel.upload import Upload
from domain.workers.service import ARCHIVE_BYTES_MAX
from infra.logs import get_logger

OWN = Path(__file__).parent / "catalog"
MANIFEST = "manifest.json"
MANIFEST_BYTES_MAX = 2**20
LEFT_OUT = frozenset({"node_modules", ".git", "__pycache__"})
DEFINITIONS_MAX = 1_000

log = get_logger(__name__)


class FolderCatalog:
    """See `domain.integrations.ports.Catalog`. Looked at anew each time: a folder that is put there is in it."""

    def __init__(self, folder: Path | None) -> None:
        self._folders = [*([folder] if folder is not None else []), OWN]

    async def definitions(self) -> Sequence[Definition]:
        """All of them, by name."""
        found = await asyncio.to_thread(self._found)
        return sorted((definition for _, definition in found.values()), key=lambda d: (d.manifest["name"], d.id))

    async def definition(self, id: str) -> Definition | None:
        """One of them, or None."""
        found = (await asyncio.to_thread(self._found)).get(id)
        return None if found is None else found[1]

    async def code(self, id: str) -> Upload | None:
        """A gzip tar of the definition's code, None for one without. Raises Invalid for one that is too large."""
        found = (await asyncio.to_thread(self._found)).get(id)
        return None if found is None else await asyncio.to_thread(_packed, found[0])

    def _found(self) -> dict[str, tuple[Path, Definition]]:
        found: dict[str, tuple[Path, Definition]] = {}
        for folder in self._folders:
            for manifest in sorted(folder.glob(f"*/{MANIFEST}"))[:DEFINITIONS_MAX]:
                definition = _read(manifest)
                if definition is not None:
                    found.setdefault(definition.id, (manifest.parent, definition))
        return found


def _read(manifest: Path) -> Definition | None:
    """One that cannot be used is left out, and the log says why: the others are none the worse."""
    try:
        if manifest.stat().st_size > MANIFEST_BYTES_MAX:
            raise ValueError(f"it has more than {MANIFEST_BYTES_MAX} bytes")
        return parse_definition(orjson.loads(manifest.read_bytes()))
    except (OSError, ValueError) as problem:
        log.warning("definition_unusable", folder=manifest.parent.name, error=str(problem))
    except Invalid as problem:
        log.warning("definition_unusable", folder=manifest.parent.name, error=problem.message)
    return None


def _packed(folder: Path) -> Upload | None:
    files = list(_files(folder))
    if not files:
        return None
    if sum(file.stat().st_size for file in files) > ARCHIVE_BYTES_MAX:
        raise Invalid("id", f"the code of '{folder.name}' has more than {ARCHIVE_BYTES_MAX} bytes")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for file in [folder / MANIFEST, *files]:
            archive.add(file, file.relative_to(folder).as_posix(), recursive=False)
    return _Packed(f"{folder.name}.tar.gz", packed.getvalue())


def _files(folder: Path) -> Iterator[Path]:
    """What belongs to the code: every plain file beside the manifest."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not path.is_symlink() and LEFT_OUT.isdisjoint(inside.parts) and str(inside) != MANIFEST:
            yield path


class _Packed:
    """An upload that is here already."""

    def __init__(self, filename: str, content: bytes) -> None:
        self.filename = filename
        self.content_type: str | None = "application/gzip"
        self.size_bytes: int | None = len(content)
        self._content = content

    async def chunks(self) -> AsyncIterator[bytes]:
        """All of it at once."""
        yield self._content
