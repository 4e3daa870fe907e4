"""One place in an object store: what is written, listed and read there, by obstore.

Invariant: an object is there whole or not at all, however the program ends. A large one goes up in parts, of
which the store knows nothing until the last is there; see `left_uploads` for what a kill leaves of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import re
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from operator import eq
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fetcher.errors import StorageError
from fetcher.policy.object_urls import SCHEMES, ObjectUrl
from fetcher.policy.redaction import shown
from fetcher.stores.left_uploads import LeftUploads

if TYPE_CHECKING:
    from obstore.store import AzureStore, ClientConfig, GCSStore, RetryConfig, S3Store

OWN_FOLDER = ".fetcher"  # what a repair puts aside
PART_BYTES = 8 * 1024**2  # from here on, a body goes up in parts of this size
_MOST_PARTS = 9_000  # S3 takes 10,000
_PARTS_AT_ONCE = 4
_AT_ONCE, _LARGE_AT_ONCE = 32, 2  # so what is in memory of large ones is 64 MiB
_RETRIES, _PATIENCE_S, _TIMEOUT_S = 8, 60, 300
_QUICK_RETRIES, _QUICK_PATIENCE_S, _QUICK_TIMEOUT_S = 3, 15, 10
_READ_BYTES = 1024**2
_COPIES_AT_ONCE = 32
_MOST_COPIED = 5_000_000_000  # by one request, in S3
_KEYS = ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
_ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_CONTENT_TYPE = re.compile(r"[!-~][ -~]{0,199}")
_CODE = re.compile(r"<Code>(\w{1,60})</Code>")
_STATUS = re.compile(r"status code: ([0-9]{3})")
_REASONS = (
    ("NoSuchBucket|ContainerNotFound|The specified bucket does not exist", "there is no such bucket",
     "make it first; its name, region and endpoint are as the environment says"),
    ("error sending request|dns error|error trying to connect|Connect", "it can't be reached",
     "look at the network, and at the endpoint that the environment names"),
    ("InvalidAccessKeyId|SignatureDoesNotMatch|status code: 401|Unauthenticated", "the credentials are wrong",
     "they are taken from the environment, as by the store's own tools"),
    ("AccessDenied|status code: 403|PermissionDenied", "access is denied",
     "the credentials of the environment are to allow listing, reading and writing there"),
    ("without LOCATION", "the bucket is in another region", "name that: AWS_REGION"),
)  # fmt: skip


class ObjectClient:
    """Client of the objects below `url`; `own` is the folder in which uploads under way are noted.

    Credentials and endpoints are those of the environment, and of the cloud's own files of settings. The
    methods raise `StorageError`, systemic, once the store has refused or tries were in vain for a minute.

    For others: `store` is obstore's own, `quick` gives up within seconds, `told` makes their errors ours.
    """

    def __init__(self, url: ObjectUrl, own: Path) -> None:
        self.url = url
        self._left = LeftUploads(own / "uploads")
        self._slots = asyncio.Semaphore(_AT_ONCE)
        self._large_slots = asyncio.Semaphore(_LARGE_AT_ONCE)
        self._endpoint: str | None = None
        self._session: Any = None
        self.store: AzureStore | GCSStore | S3Store
        self.quick: AzureStore | GCSStore | S3Store

    def connect(self) -> None:
        """Find the credentials. Blocks; to be called before anything else, in any thread."""
        with self.told(f"cannot use {self.url}"):
            if self.url.scheme == "s3":
                self._find_credentials()
            self.store = self._made(_RETRIES, _PATIENCE_S, _TIMEOUT_S)
            self.quick = self._made(_QUICK_RETRIES, _QUICK_PATIENCE_S, _QUICK_TIMEOUT_S)

    # ---- in any thread ----

    def listing(self, folder: str | None = None) -> Iterator[list[tuple[str, int]]]:
        """Yield path and length of every object, in the order of the paths, some at a time."""
        with self.told(f"cannot list {self.url}"):
            for page in self.store.list(folder, chunk_size=1000):
                yield [(meta["path"], meta["size"]) for meta in page]

    def hash(self, path: str, hashers: Collection[Any]) -> int | None:
        """Put an object through hash objects. Returns its length, or None if there is none."""
        read = 0
        with self.told(f"cannot read {self.url.at(path)}"):
            try:
                for block in self.store.get(path).stream(min_chunk_size=_READ_BYTES):
                    for hasher in hashers:
                        hasher.update(block)
                    read += len(block)
            except FileNotFoundError:
                return None
        return read

    def put_aside(self, path: str) -> None:
        """Move an object to `OWN_FOLDER`, over what was put aside there; nothing if it is not there."""
        with self.told(f"cannot move {self.url.at(path)}"), contextlib.suppress(FileNotFoundError):
            self.store.rename(path, f"{OWN_FOLDER}/damaged/{path}")

    def abort_left(self) -> int:
        """End the uploads that a kill has left. Returns how many there were; no other may be under way."""
        left = self._left.paths()
        number = sum(self._abort(path, partial(eq, path)) for path in left)
        self._left.forget()
        return number

    def abort_below(self, folder: str) -> None:
        """End the uploads to all paths in a folder; in S3 alone, others forget them or have a rule for it."""
        if self.url.scheme == "s3":
            self._abort(f"{folder}/", lambda _: True)

    def _abort(self, path: str, is_wanted: Callable[[str], bool]) -> int:
        """End the uploads to paths that begin with `path`, if they are wanted. Returns how many it were."""
        number = 0
        with self.told(f"cannot end uploads to {self.url} that were cut off"):
            s3, bucket, prefix = self._boto(), self.url.bucket, f"{self.url.prefix}/".lstrip("/")
            pages = s3.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix + path)
            for upload in [upload for page in pages for upload in page.get("Uploads", ())]:
                if is_wanted(upload["Key"].removeprefix(prefix)):
                    s3.abort_multipart_upload(Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                    number += 1
        return number

    def _boto(self) -> Any:
        """Return boto3's client, for what obstore can't do."""
        import boto3  # noqa: PLC0415  (half a second, seldom needed)
        from botocore.config import Config  # noqa: PLC0415

        style = "path" if self._endpoint else "auto"
        session = self._session or boto3.Session(region_name=os.environ.get("AWS_REGION"))
        return session.client(
            "s3",
            endpoint_url=self._endpoint,
            config=Config(connect_timeout=10, read_timeout=30, s3={"addressing_style": style}),
        )

    def copy_all(self, copies: Sequence[tuple[str, str, int]]) -> None:
        """Copy objects within the store, by path, new path and length; those that are not there are left out.

        Each is there whole or is what it was. Many are copied at once.
        """
        if not copies:
            return
        with ThreadPoolExecutor(_COPIES_AT_ONCE, thread_name_prefix="fetcher-copies") as threads:
            for copying in [threads.submit(self._copy, *one) for one in copies]:
                copying.result()

    def _copy(self, path: str, target: str, length: int) -> None:
        with self.told(f"cannot copy {self.url.at(path)}"), contextlib.suppress(FileNotFoundError):
            if length > _MOST_COPIED and self.url.scheme == "s3":
                self._copy_in_parts(path, target)
            else:
                (self.quick if length <= PART_BYTES else self.store).copy(path, target)

    def _copy_in_parts(self, path: str, target: str) -> None:
        from botocore.exceptions import ClientError  # noqa: PLC0415

        s3, bucket, prefix = self._boto(), self.url.bucket, f"{self.url.prefix}/".lstrip("/")
        source = {"Bucket": bucket, "Key": prefix + path}
        try:
            kind = s3.head_object(**source)["ContentType"]
        except ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                return
            raise
        s3.copy(source, bucket, prefix + target, ExtraArgs={"ContentType": kind})

    def remove_all(self, paths: Sequence[str]) -> None:
        """Remove objects; those that are not there are left out."""
        for start in range(0, len(paths), 1000):
            some = paths[start : start + 1000]
            with self.told(f"cannot remove objects of {self.url}"):
                try:
                    self.quick.delete(some)
                except FileNotFoundError:  # the others may be there
                    for path in some:
                        with contextlib.suppress(FileNotFoundError):
                            self.quick.delete(path)

    # ---- on the loop ----

    async def is_empty(self) -> bool:
        """Look whether any object is there; soon an error where none may be seen."""
        with self.told(f"cannot list {self.url}"):
            async for page in self.quick.list(chunk_size=1):
                if page:
                    return False
        return True

    async def pages(self) -> AsyncIterator[list[tuple[str, int]]]:
        """Yield what `listing` yields."""
        with self.told(f"cannot list {self.url}"):
            async for page in self.store.list(chunk_size=1000):
                yield [(meta["path"], meta["size"]) for meta in page]

    async def length_of(self, path: str) -> int | None:
        """Return the length of an object; None if it is not there."""
        with self.told(f"cannot read {self.url.at(path)}"):
            try:
                return (await self.store.head_async(path))["size"]
            except FileNotFoundError:
                return None

    async def put(
        self, path: str, source: bytes | Path | Iterable[bytes], length: int, content_type: str | None
    ) -> None:
        """Write an object of `length` bytes, over one that is there. Bounded in number and memory.

        Cancelling leaves what was there, or the whole; parts that had gone up are ended by the next start.
        """
        kind = content_type if content_type and _CONTENT_TYPE.fullmatch(content_type) else None
        is_large = length > PART_BYTES
        async with self._large_slots if is_large else self._slots:
            note = self._left.note(path) if is_large and self.url.scheme == "s3" else None
            with self.told(f"cannot write {self.url.at(path)}"):
                await self.store.put_async(
                    path,
                    source,
                    attributes={"Content-Type": kind} if kind else None,
                    use_multipart=is_large,
                    chunk_size=max(PART_BYTES, -(-length // _MOST_PARTS)),
                    max_concurrency=_PARTS_AT_ONCE,
                )
            if note is not None:
                note.unlink(missing_ok=True)

    # ---- connecting ----

    def _find_credentials(self) -> None:
        self._endpoint = next(filter(None, map(os.environ.get, _ENDPOINTS)), None)
        if all(map(os.environ.get, _KEYS)):
            return  # obstore finds them too
        import boto3  # noqa: PLC0415  (half a second)

        self._session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
        if self._session.get_credentials() is None and not os.environ.get("AWS_SKIP_SIGNATURE"):
            raise StorageError(
                f"cannot use {self.url}: there are no credentials",
                hint="give them as to the store's own tools: AWS_ACCESS_KEY_ID, AWS_PROFILE, a role",
            )

    def _made(self, retries: int, patience_s: int, timeout_s: int) -> AzureStore | GCSStore | S3Store:
        from obstore.store import AzureStore, GCSStore, S3Store  # noqa: PLC0415  (an extra)

        bucket, prefix = self.url.bucket, self.url.prefix or None
        retry: RetryConfig = {
            "max_retries": retries,
            "retry_timeout": dt.timedelta(seconds=patience_s),
        }
        options: ClientConfig = {"connect_timeout": "10s", "timeout": f"{timeout_s}s"}
        if self.url.scheme == "gs":
            return GCSStore(bucket, prefix=prefix, client_options=options, retry_config=retry)
        if self.url.scheme == "az":
            return AzureStore(bucket, prefix=prefix, client_options=options, retry_config=retry)
        settings: dict[str, Any] = {}
        if self._session is not None and self._session.get_credentials() is not None:
            from obstore.auth.boto3 import Boto3CredentialProvider  # noqa: PLC0415

            settings["credential_provider"] = Boto3CredentialProvider(self._session)
        if self._endpoint is not None:
            settings["endpoint"] = self._endpoint
            options["allow_http"] = self._endpoint.startswith("http://")
        return S3Store(bucket, prefix=prefix, client_options=options, retry_config=retry, **settings)

    # ---- saying what went wrong ----

    @contextlib.contextmanager
    def told(self, doing: str) -> Iterator[None]:
        """Have the errors of the libraries be one, that of a store."""
        try:
            yield
        except StorageError:
            raise
        except Exception as error:
            text = str(error).partition("\n\nDebug source")[0]
            for pattern, reason, hint in _REASONS:
                if re.search(pattern, f"{type(error).__name__} {text}"):
                    raise StorageError(f"{doing}: {reason}{_code_in(text)}", hint=hint) from error
            line = _CODE.sub("", text).partition("\n")[0].partition("<")[0]
            why = _code_in(text) or f": {shown(line, 200)}"
            store = SCHEMES[self.url.scheme]
            raise StorageError(
                f"{doing}{why}", hint=f"look at what the environment says of {store}"
            ) from error


def _code_in(text: str) -> str:
    """The store's own word for an error, or the status, to follow a message."""
    code, status = _CODE.search(text), _STATUS.search(text)
    found = code[1] if code else status[1] if status else ""
    return f" ({found})" if found else ""
