"""An S3 server on the loopback, in a process of its own: moto's, which speaks the protocol.

`control` is boto3's client of it, the oracle of what is there. A bucket of its own for each test.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import subprocess
import sys
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Self

_SERVE = """
from moto.server import main
main(["-H", "127.0.0.1", "-p", "0"])
"""
_BUCKETS = itertools.count()


class ObjectServer:
    """A server that runs. `variables` are what a client needs in its environment."""

    def __init__(self, endpoint: str) -> None:
        self.endpoint = endpoint
        self.variables = {
            "AWS_ACCESS_KEY_ID": "AKIATHEKEYTHATISTOLD",
            "AWS_SECRET_ACCESS_KEY": "thesecretthatisnevertold",
            "AWS_ENDPOINT_URL": endpoint,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
        }
        import boto3
        from botocore.config import Config

        self.control: Any = boto3.client(
            "s3",
            endpoint_url=endpoint,
            region_name="us-east-1",
            aws_access_key_id="AKIACONTROL",
            aws_secret_access_key="control",
            config=Config(s3={"addressing_style": "path"}, retries={"max_attempts": 2}),
        )

    def bucket(self) -> Bucket:
        """Make a new one."""
        name = f"bucket-{os.getpid()}-{next(_BUCKETS)}"
        self.control.create_bucket(Bucket=name)
        return Bucket(self, name)


class Bucket:
    """A bucket, and what is in it."""

    def __init__(self, server: ObjectServer, name: str) -> None:
        self.server = server
        self.name = name
        self.url = f"s3://{name}"

    def objects(self) -> Mapping[str, int]:
        """Keys and lengths."""
        pages = self.server.control.get_paginator("list_objects_v2").paginate(Bucket=self.name)
        return {found["Key"]: found["Size"] for page in pages for found in page.get("Contents", ())}

    def read(self, key: str) -> bytes:
        data: bytes = self.server.control.get_object(Bucket=self.name, Key=key)["Body"].read()
        return data

    def head(self, key: str) -> Mapping[str, Any]:
        head: Mapping[str, Any] = self.server.control.head_object(Bucket=self.name, Key=key)
        return head

    def write(self, key: str, data: bytes) -> None:
        self.server.control.put_object(Bucket=self.name, Key=key, Body=data)

    def remove(self, key: str) -> None:
        self.server.control.delete_object(Bucket=self.name, Key=key)

    def uploads(self) -> list[str]:
        """Keys of uploads in parts that are not over."""
        found = self.server.control.list_multipart_uploads(Bucket=self.name)
        return [upload["Key"] for upload in found.get("Uploads", ())]


@contextmanager
def object_server() -> Iterator[ObjectServer]:
    """Start the server and end it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _SERVE], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    assert process.stderr is not None
    try:
        said = []
        for line in process.stderr:
            said.append(line)
            if found := re.search(r"http://127\.0\.0\.1:[0-9]+", line):
                break
        else:
            raise AssertionError(f"moto's server did not start:\n{''.join(said)}")
        drain = threading.Thread(target=process.stderr.read, daemon=True)
        drain.start()
        yield ObjectServer(found[0])
        process.kill()
        drain.join()
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


class Relay:
    """A way to the server that can fail: `hold_after` lets so many bytes more pass, `deny` refuses with 403.

    With `is_old` it is a store from before there were conditional writes: their header means nothing.
    """

    def __init__(self, server: ObjectServer, *, is_old: bool = False) -> None:
        self._is_old = is_old
        self._port = int(server.endpoint.rpartition(":")[2])
        self._left: int | None = None
        self._denied: bytes | None = None
        self._loop = asyncio.new_event_loop()
        self._listener: asyncio.Server | None = None
        self._open: set[asyncio.StreamWriter] = set()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self.variables = dict(server.variables)

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def hold_after(self, octets: int) -> None:
        """Let no more of what clients send pass, after so many bytes."""
        self._left = octets

    def deny(self, method: str = "") -> None:
        """Refuse every request from now on, or those of one method."""
        self._call(self._deny(method.encode()))

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    async def _listen(self) -> None:
        self._listener = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listener.sockets[0].getsockname()[1]
        self.variables["AWS_ENDPOINT_URL"] = f"http://127.0.0.1:{port}"

    async def _close(self) -> None:
        assert self._listener is not None
        self._listener.close()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _deny(self, method: bytes) -> None:
        self._denied = method
        for writer in self._open:
            writer.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with contextlib.AsyncExitStack() as stack:
            stack.enter_context(
                contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError)
            )
            stack.push_async_callback(_closed, writer)
            self._open.add(writer)
            up_reader, up_writer = await asyncio.open_connection("127.0.0.1", self._port)
            stack.push_async_callback(_closed, up_writer)
            back = asyncio.create_task(_pass(up_reader, writer))
            while block := await reader.read(65536):
                if self._denied is not None and block.startswith(self._denied):
                    writer.write(_DENIED)
                    await writer.drain()
                    break
                while self._left is not None and self._left <= 0:
                    await asyncio.sleep(3600)
                self._left = None if self._left is None else self._left - len(block)
                up_writer.write(block.replace(b"if-none-match", b"x-not-known-h") if self._is_old else block)
                await up_writer.drain()
            back.cancel()
        self._open.discard(writer)


_DENIED_BODY = (
    b'<?xml version="1.0"?><Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>'
)
_DENIED = (
    b"HTTP/1.1 403 Forbidden\r\nContent-Type: application/xml\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s"
    % (
        len(_DENIED_BODY),
        _DENIED_BODY,
    )
)


async def _closed(writer: asyncio.StreamWriter) -> None:
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def _pass(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
        writer.close()
