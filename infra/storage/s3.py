"""Blobs as objects of an S3 bucket, by boto3 in threads.

Bytes wait on disk, not in memory, until there are enough of them for a part. A blob of several parts is there once all
of them are: what S3 calls completing the upload.
"""

import functools
import tempfile
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Any, TypeVar
from uuid import UUID

from domain.kernel.errors import DomainError, Missing, Unavailable
from infra.logs import get_logger
from infra.storage.threads import in_thread

THREADS = 8
READ_BYTES = 2**18
PART_BYTES = 8 * 2**20  # S3 takes 10,000 parts: 80 GiB
CONNECT_TIMEOUT_S = 5
READ_TIMEOUT_S = 60
ATTEMPTS = 4
NOT_THERE = ("NoSuchKey", "404", "NotFound")

T = TypeVar("T")

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Access:
    """Where the bucket is, and who we are there. Without keys boto3 looks for them where it always does."""

    bucket: str
    endpoint: str | None = None
    region: str | None = None
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)


class S3Blobs:
    """See `domain.storage.ports.BlobStore`."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="s3")

    def close(self) -> None:
        """Let the threads go."""
        self._threads.shutdown(wait=False)

    async def put(self, id: UUID, blocks: AsyncIterator[bytes]) -> None:
        """Keep these bytes."""
        with tempfile.TemporaryFile() as part:
            upload: str | None = None
            tags: list[dict[str, Any]] = []
            try:
                async for block in blocks:
                    await in_thread(self._threads, part.write, block)
                    if part.tell() >= PART_BYTES:
                        upload = upload or await self._begin(id)
                        tags.append(await self._send_part(id, upload, len(tags) + 1, part))
                if upload is None:
                    await self._call("put_object", Key=id.hex, Body=_rewound(part))
                    return
                if part.tell():
                    tags.append(await self._send_part(id, upload, len(tags) + 1, part))
                await self._call(
                    "complete_multipart_upload", Key=id.hex, UploadId=upload, MultipartUpload={"Parts": tags}
                )
            except BaseException:
                if upload is not None:
                    with suppress(DomainError):  # `delete` finds what is left
                        await self._call("abort_multipart_upload", Key=id.hex, UploadId=upload)
                raise

    async def _begin(self, id: UUID) -> str:
        return str((await self._call("create_multipart_upload", Key=id.hex))["UploadId"])

    async def _send_part(self, id: UUID, upload: str, number: int, part: IO[bytes]) -> dict[str, Any]:
        sent = await self._call("upload_part", Key=id.hex, UploadId=upload, PartNumber=number, Body=_rewound(part))
        part.seek(0)
        part.truncate()
        return {"PartNumber": number, "ETag": sent["ETag"]}

    async def open(self, id: UUID, start: int, end: int) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` up to, not including, `end`."""
        if start >= end:
            return
        body = (await self._call("get_object", Key=id.hex, Range=f"bytes={start}-{end - 1}"))["Body"]
        try:
            while chunk := await self._attempt(lambda: body.read(READ_BYTES)):
                yield chunk
        finally:
            body.close()

    async def delete(self, id: UUID) -> None:
        """Let the bytes go, and the parts of uploads that were never completed."""
        await self._call("delete_object", Key=id.hex)
        begun = await self._call("list_multipart_uploads", Prefix=id.hex)
        for upload in begun.get("Uploads", ()):
            await self._call("abort_multipart_upload", Key=id.hex, UploadId=upload["UploadId"])

    async def presigned_get(self, id: UUID, life_s: int, media_type: str, disposition: str) -> str | None:
        """A URL to read the blob at without us, with these headers."""
        headers = {"ResponseContentType": media_type, "ResponseContentDisposition": disposition}
        return await self._presigned("get_object", life_s, Key=id.hex, **headers)

    async def presigned_put(self, id: UUID, life_s: int, size_bytes: int) -> str | None:
        """A URL to write exactly so many bytes to without us."""
        return await self._presigned("put_object", life_s, Key=id.hex, ContentLength=size_bytes)

    # Speaking to S3.

    @functools.cached_property
    def _client(self) -> Any:
        """Made at the first use: boto3 takes half a second to import, and most installations have no S3."""
        import boto3
        from botocore.config import Config

        config = Config(
            signature_version="s3v4",
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"total_max_attempts": ATTEMPTS, "mode": "standard"},
            max_pool_connections=THREADS,
            # Stores that are like S3 don't know the newer checksums; the signature covers each body instead.
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            s3={"addressing_style": "path" if self._access.endpoint else "auto", "payload_signing_enabled": True},
        )
        return boto3.session.Session().client(
            "s3",
            endpoint_url=self._access.endpoint,
            region_name=self._access.region,
            aws_access_key_id=self._access.access_key,
            aws_secret_access_key=self._access.secret_key,
            config=config,
        )

    async def _call(self, verb: str, **arguments: Any) -> Any:
        return await self._attempt(lambda: getattr(self._client, verb)(Bucket=self._access.bucket, **arguments))

    async def _presigned(self, verb: str, life_s: int, **arguments: Any) -> str:
        given = {"Bucket": self._access.bucket, **arguments}
        return str(await self._attempt(lambda: self._client.generate_presigned_url(verb, given, life_s)))

    async def _attempt(self, work: Callable[[], T]) -> T:
        """What `work` comes to, in a thread. Raises Missing, Unavailable."""
        try:
            return await in_thread(self._threads, work)
        except Exception as problem:
            raise _translated(problem) from problem


def _rewound(file: IO[bytes]) -> IO[bytes]:
    file.seek(0)
    return file


def _translated(problem: Exception) -> Exception:
    from botocore.exceptions import BotoCoreError, ClientError

    if isinstance(problem, ClientError) and problem.response.get("Error", {}).get("Code") in NOT_THERE:
        return Missing("file not found")
    if isinstance(problem, BotoCoreError | ClientError | OSError):
        log.warning("s3_failed", error=f"{type(problem).__name__}: {problem}")
        return Unavailable("the store of files does not answer, try again", retry_after_s=5)
    return problem
