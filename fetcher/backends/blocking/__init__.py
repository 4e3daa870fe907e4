"""The `threads` and `sync` backends: one blocking HTTP/1.1 client on urllib3's connections.

`threads` performs each exchange in one of as many threads as there may be exchanges; `sync` has one thread,
and one exchange at a time. All else is the same.

`backend` leads an exchange on the loop, `threads` has the threads, `exchange` is an exchange as its thread
performs it, `connection` makes connections, `connection_pool` keeps them, `dns` finds and judges addresses,
`errors` translates what is raised. Of urllib3 the connections are used, with their TLS and tunnels; not its
requests, which rewrite URLs, nor its answers: the parser below them takes two lengths for one and costs as
much as all the rest.
"""

from fetcher.backends.blocking.backend import SyncBackend, ThreadsBackend

__all__ = ["SyncBackend", "ThreadsBackend"]
