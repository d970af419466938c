"""A real S3 server, moto's, on loopback."""

import itertools
import logging
from collections.abc import Iterator

import pytest

from infra.storage.s3 import Access

_numbers = itertools.count(1)
KEYS = {"access_key": "stoa", "secret_key": "not-a-secret", "region": "eu-central-1"}


@pytest.fixture(scope="session")
def s3_endpoint() -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture
def s3_access(s3_endpoint: str) -> Access:
    """A new, empty bucket."""
    import boto3

    bucket = f"bucket-{next(_numbers)}"
    client = boto3.client(
        "s3",
        endpoint_url=s3_endpoint,
        region_name=KEYS["region"],
        aws_access_key_id=KEYS["access_key"],
        aws_secret_access_key=KEYS["secret_key"],
    )
    client.create_bucket(Bucket=bucket, CreateBucketConfiguration={"LocationConstraint": KEYS["region"]})
    return Access(bucket, s3_endpoint, **KEYS)
