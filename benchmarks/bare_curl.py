"""The floor under the curl backend: libcurl's multi interface in one bare loop, each page into its file.

No event loop, no limits, no errors, no state, no records, no hash: what libcurl, pycurl and the file system
cost from Python. The files are written as the program writes them, to a part that is then renamed.
`python benchmarks/bare_curl.py urls.txt out [AT_ONCE]` prints the seconds of the fetching alone.
"""

from __future__ import annotations

import os
import select
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pycurl

AT_ONCE = int(sys.argv[3]) if len(sys.argv) > 3 else 64
FIELDS = ["User-Agent: bare", "Accept: */*", "Accept-Encoding: gzip, deflate"]
WANTED = {
    pycurl.POLL_IN: select.EPOLLIN,
    pycurl.POLL_OUT: select.EPOLLOUT,
    pycurl.POLL_INOUT: select.EPOLLIN | select.EPOLLOUT,
}


class Loop:
    """One multi handle on one epoll object."""

    def __init__(self, urls: Iterator[str], out: Path) -> None:
        self.urls, self.out = urls, out
        self.multi = pycurl.CurlMulti()
        self.epoll = select.epoll()
        self.wanted: dict[int, int] = {}
        self.timeout_ms = -1
        self.running = 0
        self.pages: dict[pycurl.Curl, tuple[str, list[bytes]]] = {}
        self.multi.setopt(pycurl.M_SOCKETFUNCTION, self.on_socket)
        self.multi.setopt(pycurl.M_TIMERFUNCTION, self.on_timer)
        for name in ("parts", "pages"):
            (out / name).mkdir(parents=True)
        self.parts, self.folder = (os.open(out / name, os.O_DIRECTORY) for name in ("parts", "pages"))

    def on_socket(self, what: int, descriptor: int, _multi: object, _data: object) -> None:
        if what == pycurl.POLL_REMOVE:
            self.wanted[descriptor] = 0
            return
        try:
            if descriptor in self.wanted:
                self.epoll.modify(descriptor, WANTED[what])
            else:
                self.epoll.register(descriptor, WANTED[what])
        except FileNotFoundError:
            self.epoll.register(descriptor, WANTED[what])
        self.wanted[descriptor] = what

    def on_timer(self, timeout_ms: int) -> None:
        self.timeout_ms = timeout_ms

    def start(self, easy: pycurl.Curl) -> None:
        url = next(self.urls, None)
        if url is None:
            return
        chunks: list[bytes] = []
        self.pages[easy] = url.rpartition("/")[2], chunks
        easy.setopt(pycurl.URL, url)
        easy.setopt(pycurl.WRITEFUNCTION, chunks.append)
        self.multi.add_handle(easy)
        self.running += 1

    def save(self, name: str, body: bytes) -> None:
        descriptor = os.open("part", os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666, dir_fd=self.parts)
        os.write(descriptor, body)
        os.close(descriptor)
        os.rename("part", name, src_dir_fd=self.parts, dst_dir_fd=self.folder)

    def run(self) -> None:
        for _ in range(AT_ONCE):
            easy = pycurl.Curl()
            easy.setopt(pycurl.HTTPHEADER, FIELDS)
            easy.setopt(pycurl.NOSIGNAL, 1)
            easy.setopt(pycurl.HEADERFUNCTION, len)
            self.start(easy)
        while self.running:
            if self.timeout_ms == 0:
                self.multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            for descriptor, events in self.epoll.poll(0.1 if self.timeout_ms else 0, 256):
                if self.wanted[descriptor]:
                    self.multi.socket_action(
                        descriptor, pycurl.CSELECT_IN if events & select.EPOLLIN else pycurl.CSELECT_OUT
                    )
            _, done, failed = self.multi.info_read()
            if failed:
                raise SystemExit(f"failed: {failed[0][1:]}")
            for easy in done:
                self.multi.remove_handle(easy)
                self.running -= 1
                name, chunks = self.pages.pop(easy)
                self.save(name, b"".join(chunks))
                self.start(easy)


def main() -> None:
    with open(sys.argv[1]) as lines:
        loop = Loop((line.rstrip("\n") for line in lines), Path(sys.argv[2]))
        started = time.perf_counter()
        loop.run()
        print(time.perf_counter() - started)


if __name__ == "__main__":
    main()
