"""What every store of blobs does, the folder and S3 alike, and what each of them does besides."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from domain.kernel.errors import Missing, Unavailable
from domain.kernel.ids import uuid7
from infra.settings import Settings
from infra.storage import s3
from infra.storage.chosen import blob_store
from infra.storage.folder import FolderBlobs
from infra.storage.s3 import PART_BYTES, Access, S3Blobs

Store = FolderBlobs | S3Blobs
SECOND_PART = PART_BYTES + 12_345


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    made: Store
    if request.param == "folder":
        made = FolderBlobs(tmp_path / "blobs")
    else:
        made = S3Blobs(request.getfixturevalue("s3_access"))
    yield made
    made.close()


async def blocks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def broken(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part
    raise ValueError("the sender is gone")


async def read(store: Store, id: UUID, start: int, end: int) -> bytes:
    return b"".join([chunk async for chunk in store.open(id, start, end)])


def left(store: Store) -> list[str]:
    """The names of all there is in the store, whole or not."""
    if isinstance(store, FolderBlobs):
        return sorted(path.name for path in store._folder.rglob("*") if path.is_file())
    bucket = {"Bucket": store._access.bucket}
    kept = store._client.list_objects_v2(**bucket).get("Contents", [])
    begun = store._client.list_multipart_uploads(**bucket).get("Uploads", [])
    return sorted(found["Key"] for found in [*kept, *begun])


@pytest.mark.parametrize("size", [1, 2**18, 2**18 + 1, SECOND_PART])
async def test_what_is_put_is_read_in_whole_and_in_parts(store: Store, size: int) -> None:
    id, content = uuid7(), os.urandom(size)
    await store.put(id, blocks(content[: size // 3], content[size // 3 :]))
    assert await read(store, id, 0, size) == content
    assert await read(store, id, size // 2, size) == content[size // 2 :]
    assert await read(store, id, 0, 1) == content[:1]
    assert await read(store, id, size - 1, size) == content[-1:]
    assert await read(store, id, 0, 0) == b""
    assert left(store) == [id.hex]


async def test_chunks_are_small_whatever_is_asked_for(store: Store) -> None:
    id = uuid7()
    await store.put(id, blocks(bytes(2**21)))
    assert max([len(chunk) async for chunk in store.open(id, 0, 2**21)]) <= 2**18


async def test_what_is_not_there_is_missing(store: Store) -> None:
    with pytest.raises(Missing):
        await read(store, uuid7(), 0, 10)


async def test_what_is_deleted_is_gone_and_deleting_again_does_no_harm(store: Store) -> None:
    id, other = uuid7(), uuid7()
    for each in (id, other):
        await store.put(each, blocks(b"abc"))
    await store.delete(id)
    await store.delete(id)
    with pytest.raises(Missing):
        await read(store, id, 0, 3)
    assert await read(store, other, 0, 3) == b"abc"


@pytest.mark.parametrize("size", [10, SECOND_PART])
async def test_a_put_whose_sender_fails_leaves_nothing(store: Store, size: int) -> None:
    with pytest.raises(ValueError, match="the sender is gone"):
        await store.put(uuid7(), broken(bytes(size)))
    assert left(store) == []


@pytest.mark.parametrize("size", [10, SECOND_PART])
async def test_a_put_that_is_cancelled_leaves_nothing(store: Store, size: int) -> None:
    reached = asyncio.Event()

    async def stalled() -> AsyncIterator[bytes]:
        yield bytes(size)
        reached.set()
        await asyncio.sleep(60)

    putting = asyncio.create_task(store.put(uuid7(), stalled()))
    await reached.wait()
    putting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await putting
    assert left(store) == []


async def test_nothing_is_there_before_all_of_it_is(store: Store) -> None:
    id = uuid7()

    async def watched() -> AsyncIterator[bytes]:
        yield bytes(SECOND_PART)
        with pytest.raises(Missing):
            await read(store, id, 0, 1)
        yield b"end"

    await store.put(id, watched())
    assert await read(store, id, SECOND_PART, SECOND_PART + 3) == b"end"


async def test_many_puts_at_once_do_not_mix(store: Store) -> None:
    contents = {uuid7(): bytes([number]) * 100_000 for number in range(20)}
    await asyncio.gather(*(store.put(id, blocks(content)) for id, content in contents.items()))
    for id, content in contents.items():
        assert await read(store, id, 0, 100_000) == content


async def test_a_store_that_fails_is_unavailable(tmp_path: Path, s3_endpoint: str) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("no folder")
    access = Access("no-such-bucket", s3_endpoint, access_key="a", secret_key="b", region="eu-central-1")
    for store in (FolderBlobs(blocked), S3Blobs(access)):
        with pytest.raises(Unavailable) as refused:
            await store.put(uuid7(), blocks(b"abc"))
        assert str(tmp_path) not in refused.value.message
        assert s3_endpoint not in refused.value.message
        store.close()


# A folder.


async def test_a_half_written_file_goes_with_its_blob(tmp_path: Path) -> None:
    store, id = FolderBlobs(tmp_path), uuid7()
    await store.put(id, blocks(b"abc"))
    store._path(id).rename(store._path(id).with_name(f"{id.hex}.part"))  # as a killed process leaves it
    with pytest.raises(Missing):
        await read(store, id, 0, 3)
    await store.delete(id)
    assert left(store) == []


async def test_files_are_spread_and_private(tmp_path: Path) -> None:
    store, ids = FolderBlobs(tmp_path / "blobs"), [uuid7() for _ in range(30)]
    for id in ids:
        await store.put(id, blocks(b"abc"))
    assert len({path.name for path in (tmp_path / "blobs").iterdir()}) > 20
    assert (tmp_path / "blobs").stat().st_mode & 0o777 == 0o700
    assert {store._path(id).stat().st_mode & 0o777 for id in ids} == {0o600}


async def test_a_folder_has_no_urls_of_its_own(tmp_path: Path) -> None:
    store = FolderBlobs(tmp_path)
    assert await store.presigned_get(uuid7(), 60, "image/png", "attachment") is None
    assert await store.presigned_put(uuid7(), 60, 10) is None


# S3.


async def test_presigned_urls_read_and_write_without_us(s3_access: Access) -> None:
    store, id = S3Blobs(s3_access), uuid7()
    written = await store.presigned_put(id, 60, 3)
    read_at = await store.presigned_get(id, 60, "text/plain", 'attachment; filename="a.txt"')
    assert written
    assert read_at
    async with httpx.AsyncClient() as client:
        assert (await client.put(written, content=b"abc")).status_code == 200
        answer = await client.get(read_at)
    assert (answer.status_code, answer.content) == (200, b"abc")
    assert answer.headers["content-type"] == "text/plain"
    assert answer.headers["content-disposition"] == 'attachment; filename="a.txt"'
    assert await read(store, id, 0, 3) == b"abc"


async def test_parts_of_an_upload_that_never_ended_go_with_its_blob(s3_access: Access) -> None:
    store, id = S3Blobs(s3_access), uuid7()
    bucket = {"Bucket": s3_access.bucket, "Key": id.hex}
    begun = store._client.create_multipart_upload(**bucket)
    store._client.upload_part(**bucket, UploadId=begun["UploadId"], PartNumber=1, Body=b"abc")
    assert left(store) == [id.hex]
    await store.delete(id)
    assert left(store) == []


async def test_parts_wait_on_disk_and_are_sent_in_order(s3_access: Access, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PART_BYTES", 5 * 2**20)
    store, id = S3Blobs(s3_access), uuid7()
    content = os.urandom(11 * 2**20)
    await store.put(id, blocks(*(content[at : at + 2**20] for at in range(0, len(content), 2**20))))
    assert await read(store, id, 0, len(content)) == content
    assert store._client.head_object(Bucket=s3_access.bucket, Key=id.hex)["ETag"].endswith('-3"')


def test_the_settings_choose(tmp_path: Path) -> None:
    assert isinstance(blob_store(Settings(data_dir=tmp_path)), FolderBlobs)
    chosen = blob_store(Settings(data_dir=tmp_path, s3_bucket="files", s3_endpoint="http://minio:9000"))
    assert isinstance(chosen, S3Blobs)
