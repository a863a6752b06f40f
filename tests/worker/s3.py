"""A local S3 server for tests: buckets, objects, outages, denied access."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import pytest

from tests.processes import free_port

KEY, SECRET = "AKIDEXAMPLE000000000", "not-a-secret-but-looks-like-one"


class S3Server:
    """A process that serves S3 on a free loopback port."""

    def __init__(self) -> None:
        import boto3
        from botocore.config import Config

        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.env = {
            "AWS_ENDPOINT_URL": self.url,
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        self._process = subprocess.Popen(
            [
                sys.executable,
                "-W",
                "ignore",
                "-m",
                "tests.worker.s3_process",
                str(self.port),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.tell("start")
        self.client: Any = boto3.client(
            "s3",
            endpoint_url=self.url,
            aws_access_key_id=KEY,
            aws_secret_access_key=SECRET,
            region_name="us-east-1",
            config=Config(parameter_validation=False),
        )

    def tell(self, command: str) -> None:
        stdin, stdout = self._process.stdin, self._process.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{command}\n")
        stdin.flush()
        assert stdout.readline() == "done\n"

    @contextmanager
    def locked(self) -> Iterator[None]:
        """No key opens anything."""
        self.tell("lock")
        try:
            yield
        finally:
            self.tell("unlock")

    @contextmanager
    def failing(self, status: int) -> Iterator[None]:
        """Every request is answered with that HTTP status."""
        self.tell(f"fail {status}")
        try:
            yield
        finally:
            self.tell("fail 0")

    @contextmanager
    def away(self) -> Iterator[None]:
        """Nobody answers; what is held is kept."""
        self.tell("stop")
        try:
            yield
        finally:
            self.tell("start")

    def close(self) -> None:
        self.client.close()
        self._process.kill()
        self._process.communicate()


class Bucket:
    """One bucket of the server."""

    def __init__(self, server: S3Server, name: str) -> None:
        self.server = server
        self.name = name
        server.client.create_bucket(Bucket=name)

    @property
    def url(self) -> str:
        return f"s3://{self.name}/below"

    def put(self, name: str, content: bytes) -> None:
        key = f"below/{name}"
        self.server.client.put_object(Bucket=self.name, Key=key, Body=content)

    def freeze(self, name: str) -> None:
        """Move an object into cold storage: nobody may read it there."""
        source = {"Bucket": self.name, "Key": f"below/{name}"}
        self.server.client.copy_object(
            CopySource=source, StorageClass="GLACIER", **source
        )

    def delete(self, name: str) -> None:
        self.server.client.delete_object(Bucket=self.name, Key=f"below/{name}")

    def get(self, name: str) -> bytes:
        answer = self.server.client.get_object(Bucket=self.name, Key=f"below/{name}")
        content: bytes = answer["Body"].read()
        return content


def s3_server() -> Iterator[S3Server]:
    """A started server; where moto is missing a desk skips and CI fails."""
    if find_spec("moto") is None or find_spec("s3fs") is None:
        if os.environ.get("CI") == "true":
            pytest.fail("no moto and s3fs: pip install 'kennel[dev]'")
        pytest.skip("no moto and s3fs: pip install 'kennel[dev]'")
    server = S3Server()
    yield server
    server.close()
