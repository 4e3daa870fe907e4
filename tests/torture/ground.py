"""The site that runs are tortured on: its answers depend on the URL and the site's version, not on who asked when.

So a run that was killed or met a fault, and one that went on where that ended, must have the same outcome as
one that was left alone. What has to be tried again fails once for each version, whoever asks.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import sha256

from support.faultserver import BLOCK, Exchange, FaultServer, content

BIG = 2_200_000  # a part, cut off once and continued
CUT_AT = 1_400_000
MIDDLE = 400_000  # a part that no later attempt would continue


class TortureSite(FaultServer):
    """Pages, large bodies, redirects, failures and what is to be tried again.

    `version` 1 and 2 differ in every third page, and in what fails.
    """

    def __init__(self) -> None:
        super().__init__(hosts=["127.0.0.2"])
        self.version = 1
        for path, script in (
            ("/page", _page),
            ("/big", _big),
            ("/late", _late),
            ("/mended", _mended),
            ("/tree", _tree),
            ("/robots.txt", _robots),
        ):
            self.route(path, script)

    def begin(self, version: int) -> None:
        """Serve `version`, as if nobody had asked before."""
        self.version = version
        self.state.clear()
        self.log.clear()


def listed(site: TortureSite, number: int) -> list[str]:
    """About `number` URLs for `get`: two hosts, every kind of answer, one URL twice and one line that is none."""
    paths = list(_odd_paths())
    pages = (f"/page/{n}?size={37 * n % 4000}" for n in range(number - len(paths)))
    hosts = ("127.0.0.1", "127.0.0.2")
    urls = [site.url(path, host=hosts[n % 7 == 3]) for n, path in enumerate([*paths, *pages])]
    return [*urls, urls[-1], "no url at all"]


def _odd_paths() -> Iterator[str]:
    yield from ("/late/1", "/once/503/2")
    yield f"/big/1?size={BIG}&cut={CUT_AT}"
    yield from (f"/page/middle{n}?size={MIDDLE + n}" for n in range(3))
    yield f"/chunked/{MIDDLE}"
    yield from (f"/redirect/{n}?to=/ok/end{n}" for n in range(1, 5))
    yield from ("/location?raw=", "/loop", "/redirect/20?to=/ok/never")
    yield from (f"/status/{n}" for n in (404, 410, 204))
    yield from (f"/mended/{n}" for n in range(8))
    yield from ("/cl-twice", "/bad-chunk", "/gzip/3000", "/gzip/500000", "/eof/200")
    yield from ("/page/name", "/page/name/below", "/page/NAME", "/page/end/", "/page/" + "n" * 300)


async def _page(x: Exchange) -> None:
    """/page/KEY?size=: content by path, and in every third one by version; honours If-None-Match."""
    digest = sha256(x.hit.path.encode()).digest()[0]
    version = x.server.version if digest % 3 == 0 else 1  # type: ignore[attr-defined]
    body = content(f"{x.hit.path}:{version}", x.number("size", 100))
    etag = f'"{sha256(body).hexdigest()[:16]}"'
    same = x.hit.header("if-none-match") == etag
    await x.answer(304 if same else 200, [("ETag", etag)], b"" if same else body)


async def _big(x: Exchange) -> None:
    """/big/KEY?size=&cut=: honours ranges; a request that begins before `cut` is cut off there."""
    body = content(x.hit.path, x.number("size", 1000))
    cut = x.number("cut", 0)
    start = 0
    wanted = x.hit.header("range")
    if x.hit.header("if-none-match") == '"big"':
        await x.answer(304, [("ETag", '"big"')])
        return
    if wanted and x.hit.header("if-range") in {None, '"big"'}:
        start = int(wanted.removeprefix("bytes=").removesuffix("-"))
    end = cut if start < cut else len(body)
    fields = [("ETag", '"big"'), ("Accept-Ranges", "bytes"), ("Content-Length", str(len(body) - start))]
    if start:
        fields.append(("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}"))
    await x.head(206 if start else 200, fields)
    for at in range(start, end, BLOCK):
        await x.send(body[at : min(at + BLOCK, end)])


async def _late(x: Exchange) -> None:
    """/late/KEY: reset once, then a page."""
    seen = x.server.state[x.hit.path] = x.server.state.get(x.hit.path, 0) + 1
    if seen == 1:
        x.reset()
    else:
        await x.answer(body=content(x.hit.path, 700))


async def _mended(x: Exchange) -> None:
    """/mended/KEY: not there in version 1."""
    if x.server.version == 1:  # type: ignore[attr-defined]
        await x.answer(404, body=b"not yet\n")
    else:
        await x.answer(body=content(x.hit.path, 900))


async def _robots(x: Exchange) -> None:
    await x.answer(200, [("Content-Type", "text/plain")], b"User-agent: *\nDisallow: /tree/9\n")


async def _tree(x: Exchange) -> None:
    """/tree/N: a page of links to three others below `SIZE`, an odd one here and there."""
    number = int(x.args[0])
    links = [f"/tree/{child}" for child in range(3 * number + 1, 3 * number + 4) if child < TREE]
    links += [f"/tree/{(number * 7) % TREE}", "/tree/0"]
    links += {
        5: ["/status/404"],
        6: ["/redirect/2?to=/tree/1"],
        7: ["/tree/99999999"],
        8: ["/late/tree"],
    }.get(number, [])
    version = x.server.version if number % 3 == 0 else 1  # type: ignore[attr-defined]
    text = "".join(f'<a href="{link}">{link}</a>\n' for link in links) if number < TREE else ""
    body = f"<html><title>{number} of {version}</title>{text}{'.' * (number * 31 % 2000)}</html>".encode()
    etag = f'"{sha256(body).hexdigest()[:16]}"'
    same = x.hit.header("if-none-match") == etag
    await x.answer(
        304 if same else 200, [("Content-Type", "text/html"), ("ETag", etag)], b"" if same else body
    )


TREE = 180


def write_list(urls: Iterable[str]) -> str:
    """The text of a list."""
    return "".join(f"{url}\n" for url in urls)
