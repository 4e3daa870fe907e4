"""The settings that a run on a cluster can't have, refused before anything starts."""

from __future__ import annotations

from importlib.util import find_spec

from fetcher.errors import ConfigError
from fetcher.settings import DEFAULTS, Settings

_NOT_HERE = {
    "shard": "the cluster makes the shards",
    "output_file": "one URL needs no cluster",
    "reparse": "stored pages are read where the state is",
    "restart": "choose another --output to begin anew",
    "convert_links": "it is for a run on one machine",
    "link_check": "it is for a run on one machine",
    "on_done": "it is for a run on one machine",
}


def check_settings(settings: Settings, command: str) -> None:
    """Raise `ConfigError` for a setting that does not go with a cluster."""
    if find_spec("distributed") is None:
        raise ConfigError("cluster: needs a library", hint="pip install 'fetcher[cluster]'")
    for key, why in _NOT_HERE.items():
        if getattr(settings, key) != getattr(DEFAULTS, key):
            raise ConfigError(f"{key}: not with a cluster: {why}", hint="leave it out")
    if settings.processes != 1:
        raise ConfigError("processes: the workers of the cluster are the processes", hint="leave it out")
    if command == "crawl" and settings.refresh:
        raise ConfigError(
            "refresh: a crawl on a cluster can't be refreshed", hint="crawl again, in another --output"
        )
