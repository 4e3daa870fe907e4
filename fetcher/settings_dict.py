"""The settings as type checkers and editors see them: one typed keyword argument for each.

Invariant: a key stands here exactly when the library takes it; a test holds names and types to
`settings.OPTIONS`. Nothing of this is looked at when the program runs.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import time
from os import PathLike
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

if TYPE_CHECKING:
    from fetcher.option_types.values import Deadline
    from fetcher.settings import HostSettings

Size: TypeAlias = int | str  # bytes, "500K", "1.5G"
Seconds: TypeAlias = float | str  # seconds, "1.5s", "1h30m"
Rate: TypeAlias = float | str  # starts per second, "300/m"
FilePath: TypeAlias = str | PathLike[str]
Texts: TypeAlias = str | list[str] | tuple[str, ...]
HeaderFields: TypeAlias = (
    Mapping[str, str | None]
    | list[tuple[str, str | None]]
    | list[tuple[str, str]]
    | list[str]
    | tuple[tuple[str, str | None], ...]
    | tuple[str, ...]
    | str
)
Scalar: TypeAlias = str | int | float | bool | None
Fields: TypeAlias = Mapping[str, Scalar | Sequence[Scalar]] | Iterable[tuple[str, Scalar]]


class HostDict(TypedDict, total=False):
    """Settings of one host of `hosts` that differ."""

    per_host: int
    delay: Seconds
    rate: Rate | None
    headers: HeaderFields
    user: str | tuple[str, str]


class CommonSettings(TypedDict, total=False):
    """Settings of a run, a stream or one call, but for those of the request itself."""

    state: FilePath
    name: str
    server_names: bool
    extension: bool
    store: Literal["files", "none", "warc", "parquet"]
    digest: Literal["sha256", "blake3", "none"]
    checksums: FilePath | Sequence[FilePath]
    link_check: bool
    overwrite: bool
    mtime: bool
    concurrency: int
    per_host: int
    delay: Seconds
    rate: Rate | None
    max_bandwidth: Size | None
    split: int
    split_size: Size
    backend: Literal["asyncio", "curl", "threads", "sync"]
    processes: int
    http: Literal["auto", "1.1", "2", "3"]
    hosts: Mapping[str, HostDict | HostSettings]
    depth: int
    max_pages: int | None
    max_host_pages: int | None
    max_variants: int | None
    scope: Literal["host", "domain", "prefix", "any"]
    include: Texts
    exclude: Texts
    no_robots: bool
    sitemaps: bool
    assets: bool
    ignore: Collection[str]
    sort_query: bool
    keep_session_ids: bool
    parser: str | Callable[..., Any] | None
    offload: Literal["auto", "inline", "threads", "processes"]
    parser_workers: int | None
    parser_timeout: Seconds
    parser_memory: Size
    retries: int
    retry_on: Collection[int] | str
    max_wait: Seconds
    connect_timeout: Seconds
    header_timeout: Seconds
    read_timeout: Seconds
    min_speed: Size | None
    max_size: Size | None
    max_redirects: int
    deadline: Seconds | time | Deadline | None
    max_failures: int | None
    min_free: Size | None
    grace: Seconds
    user: str | tuple[str, str] | None
    user_agent: str | None
    proxy: str | None
    no_proxy: str | Collection[str] | None
    cookies: FilePath | None
    netrc: bool
    ca_file: FilePath | None
    client_cert: FilePath | None
    insecure: bool
    ipv4: bool
    ipv6: bool
    resolve: Texts | Sequence[tuple[str, int, str]]
    private_addresses: Literal["seeds", "deny", "allow"]
    refresh: bool
    retry_failed: bool
    no_resume: bool
    restart: bool
    reparse: bool
    fsync: bool
    on_done: str | Callable[..., Any] | None
    no_split_hosts: bool
    cluster: str | None
    shards: int | None


class SettingsDict(CommonSettings, total=False):
    """Every setting that the library takes."""

    timeout: Seconds | None
    method: str
    data: str | bytes | None
    headers: HeaderFields
    header: HeaderFields  # as it was called before


class FetchDict(CommonSettings, total=False):
    """Every setting, and what `fetch` makes a request of besides."""

    timeout: Seconds | None
    method: str
    data: str | bytes | Fields | None
    headers: HeaderFields
    header: HeaderFields
    json: Any
    params: Fields | str | None
