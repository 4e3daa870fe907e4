"""A client of a cluster as a process: one run, its leases short. Its argument is a job as JSON."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import msgspec

from fetcher.cli.exit_codes import STORAGE, code_of
from fetcher.cli.runner import exit_code
from fetcher.cluster.cluster_download import ClusterDownload
from fetcher.cluster.lease import LeaseTimes
from fetcher.cluster.shard_messages import ClusterTimes
from fetcher.errors import FetcherError, WorkerDied
from fetcher.settings import crawl_defaults, make
from fetcher.sources.file_source import FileSource


def main() -> int:
    job = json.loads(sys.argv[1])
    given = job["settings"] | {"cluster": job["cluster"]}
    settings = make(given)
    if job["command"] == "crawl":
        settings = crawl_defaults(settings, given)
    settings = msgspec.structs.replace(settings, output=job["out"])
    times = ClusterTimes(lease=LeaseTimes(**job["times"]), checkpoint_s=0.5, client_s=6.0)
    download = ClusterDownload(settings, command=job["command"], times=times)
    source = FileSource(job["list"], "auto", url_column="url")
    source.check()
    try:
        summary = asyncio.run(download.run([source]))
    except WorkerDied as error:
        print(f"client: {error.message}", file=sys.stderr)
        return STORAGE
    except FetcherError as error:
        print(f"client: {error.message}", file=sys.stderr)
        return code_of(error)
    Path(job["said"]).write_bytes(msgspec.json.encode(summary))
    return exit_code(summary)


if __name__ == "__main__":
    sys.exit(main())
