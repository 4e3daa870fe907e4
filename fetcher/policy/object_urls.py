"""Addresses of places in object stores, as `--output` takes them: `s3://bucket/prefix`."""

from __future__ import annotations

from typing import NamedTuple

SCHEMES = {"s3": "Amazon S3 and what speaks its protocol", "gs": "Google Cloud Storage", "az": "Azure Blob"}
KEY_BYTES = 1024  # the longest key that all of them take
PREFIX_BYTES = 400
_ROOM_FOR_MARKS = 64  # what names that collide grow by
_OF_BUCKETS = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-")


class ObjectUrl(NamedTuple):
    """A bucket (of Azure, a container) and what the keys in it begin with, without `/` at its ends."""

    scheme: str
    bucket: str
    prefix: str = ""

    def __str__(self) -> str:
        return "/".join(filter(None, (f"{self.scheme}://{self.bucket}", self.prefix)))

    def at(self, path: str) -> str:
        """Return the address of the object at a path below it."""
        return f"{self}/{path}"

    def below(self, folder: str) -> ObjectUrl:
        """Return the address of a folder below it."""
        return self._replace(prefix="/".join(filter(None, (self.prefix, folder))))

    @property
    def path_bytes(self) -> int:
        """The longest path that a name may have, so that every key fits."""
        return KEY_BYTES - _ROOM_FOR_MARKS - len(self.prefix.encode())


def is_object_url(text: str) -> bool:
    """Tell whether a text is meant as an address, and not as a folder."""
    scheme, found, _ = text.partition("://")
    return bool(found) and scheme.isalnum()


def object_url(text: str) -> ObjectUrl:
    """Take an address apart. Raises `ValueError`, whose text shows nothing of what might be a secret."""
    scheme, _, rest = text.partition("://")
    bucket, _, prefix = rest.partition("/")
    prefix = prefix.strip("/")
    if scheme not in SCHEMES:
        raise ValueError("expected a folder, or an object store's address (s3://…, gs://…, az://…)")
    if "@" in bucket:
        raise ValueError(f"credentials do not belong into the address; write {scheme}://BUCKET/PREFIX")
    if not bucket or not _OF_BUCKETS.issuperset(bucket):
        raise ValueError(f"expected {scheme}://BUCKET/PREFIX, and that bucket can't be one")
    if not prefix.isprintable() or any(segment in {"", ".", ".."} for segment in prefix.split("/") if prefix):
        raise ValueError("the prefix is to have no empty segment, no . or .. and nothing unprintable")
    if len(prefix.encode(errors="surrogateescape")) > PREFIX_BYTES:
        raise ValueError(f"the prefix is longer than {PREFIX_BYTES} bytes")
    return ObjectUrl(scheme, bucket, prefix)
