"""The store of blobs that the settings choose."""

from infra.settings import Settings
from infra.storage.folder import FolderBlobs
from infra.storage.s3 import Access, S3Blobs

FOLDER = "blobs"


def blob_store(settings: Settings) -> FolderBlobs | S3Blobs:
    """A bucket of S3 where one is named, else a folder of the data folder."""
    if settings.s3_bucket is None:
        return FolderBlobs(settings.data_dir / FOLDER)
    return S3Blobs(
        Access(
            settings.s3_bucket,
            settings.s3_endpoint,
            settings.s3_region,
            settings.s3_access_key,
            settings.s3_secret_key,
        )
    )
