"""The generated site that crawls are tested on: a tree with many more links, and one of everything that is odd.

The same size gives the same site, byte for byte. What must not be followed has `/noise/` in its path.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import replace
from html import escape
from urllib.parse import quote

from support.crawlweb import ADDRESS, ELSEWHERE, Edge, Page, Resource, Web, moved

MONTHS = "/calendar?month="
FAN = 6

_NOISE = f"""
<!-- <a href="/noise/comment">commented out</a> -->
<script>document.write('<a href="/noise/script">no</a>'); var u = "/noise/text";</script>
<style>p {{ color: red }} /* <a href="/noise/style"> */</style>
<textarea><a href="/noise/textarea">typed</a></textarea>
<a href="mailto:a@{ADDRESS}">write</a> <a href="javascript:go('/noise/js')">go</a> <a href="tel:112">call</a>
<a href="data:text/html,<a href=/noise/data>">data</a> <a href="ftp://{ADDRESS}/noise/ftp">ftp</a>
<a href="file:///etc/passwd">file</a> <a name="x">an anchor</a> <a href="#x">to it</a> <a href="">self</a>
<a href="http://">nothing</a> <a href="http://[::1/noise/ip">bad</a> <a href="http://a b/noise/space">bad</a>
<a href="http://{ELSEWHERE}/noise/elsewhere">another host</a> <a href="http://127.0.0.1:9/noise/port">a port</a>
<a data-href="/noise/data-href" xhref="/noise/xhref">no link</a> <form action="/noise/form"></form>
<p title='<a href="/noise/attribute">'>an attribute</p> &lt;a href="/noise/escaped"&gt;
"""


def generate(size: int = 3500) -> Web:
    """A tree of `size` pages and more links between them, and below it one of everything that is odd."""
    web = Web(trap=_month)
    draw = random.Random(size)
    names = [_name(number) for number in range(size)]
    redirected = [f"/moved/{number}" for number in range(size // 40)]
    copies = [f"/copy/{number}?session=x&n={number}" for number in range(size // 40)]
    for number in range(size):
        page = Page(names[number], f"page {number}", draw=draw)
        children = [names[c] for c in range(number * FAN + 1, number * FAN + FAN + 1) if c < size]
        near = [names[draw.randrange(size)] for _ in range(3)]
        targets = [*children, *near, draw.choice(redirected), draw.choice(copies)]
        draw.shuffle(targets)
        page.links(targets)
        page.text("<p>" + "words of no weight " * draw.randrange(10, 60) + "</p>")
        if number % 10 == 0:
            page.text(_NOISE)
        if not children and number % 8 == 0:
            page.link(web.add(Page(f"/below/{number}.html", "below the tree")))
        web.add(page, is_coded=number % 3 == 1)
    for number, (source, copy) in enumerate(zip(redirected, copies, strict=True)):
        web.resources[source] = moved(names[draw.randrange(size)], (301, 302, 303, 307, 308)[number % 5])
        page = Page(copy, "a copy")
        to = names[draw.randrange(size)]
        page.head(f'<link rel="canonical" href="{to}">', Edge(to, "canonical"))
        web.add(page)
    for feature in _FEATURES:
        web.link("/", feature(web, names))
    _robots_and_sitemaps(web, size // 30)
    return web


def _name(number: int) -> str:
    if number == 0:
        return "/"
    return f"/s{number % 7}/p{number}.html" if number % 5 else f"/s{number % 7}/list?page={number}&all=1"


def _redirects(web: Web, _: list[str]) -> str:
    """Pages that only redirects lead to, a chain, a loop, and ways out that are not taken."""
    page = Page("/redirects.html", "redirects")
    for to in ("/hop/1", "/loop/a", "/to/private", "/to/elsewhere", "/to/nowhere"):
        page.link(to)
    for hop in range(1, 6):
        web.resources[f"/hop/{hop}"] = moved(f"/hop/{hop + 1}" if hop < 5 else "/behind/hops.html", 302)
    behind = Page("/behind/hops.html", "behind")
    behind.link("/behind/more.html")
    web.add(behind)
    web.add(Page("/behind/more.html", "more"))
    web.resources["/loop/a"] = moved("/loop/b", 302)
    web.resources["/loop/b"] = moved("/loop/a", 307)
    web.resources["/to/private"] = moved("/private/moved.html")
    web.add(Page("/private/moved.html", "private"))
    web.disallowed.add("/private/moved.html")
    web.resources["/to/elsewhere"] = replace(moved(f"http://{ELSEWHERE}/noise/moved"), edges=())
    web.resources["/to/nowhere"] = moved("/gone/moved")
    return web.add(page)


def _private(web: Web, names: list[str]) -> str:
    """What robots.txt disallows, what it allows within that, and pages that only a disallowed one leads to."""
    page = Page("/rules.html", "what is asked for and what is not")
    for number in range(max(10, len(names) // 100)):
        shut, free = f"/private/{number}.html", f"/private/open/{number}.html"
        program, call = f"/run/{number}.cgi", f"/run/{number}.cgi?x=1"
        for path in (shut, program):
            web.disallowed.add(path)
            hidden = Page(path, "hidden")
            hidden.link(f"/hidden/{number}.html")
            web.add(hidden)
        web.add(Page(f"/hidden/{number}.html", "behind a hidden page"))
        web.add(Page(free, "open"))
        web.add(Page(call, "a program with a query"))
        for to in (shut, free, program, call):
            page.link(to)
    return web.add(page)


def _nofollow(web: Web, names: list[str]) -> str:
    """Links that ask not to be followed, one by one or the whole page's; some are found otherwise too."""
    page = Page("/nofollow.html", "please do not")
    for number in range(max(10, len(names) // 100)):
        advert = f"/ads/{number}.html"
        page.link(
            advert,
            f'<a rel="{("nofollow", "external NoFollow", "nofollow noopener")[number % 3]}" href="{{}}">x</a>',
            bar="nofollow",
        )
        ad = Page(advert, "an advert")
        ad.link(f"/ads/more/{number}.html")
        web.add(ad)
        web.add(Page(f"/ads/more/{number}.html", "more"))
        if number % 4 == 0:
            web.link(names[number], advert)
    for number, (markup, fields) in enumerate(
        [
            ('<meta name="robots" content="nofollow">', ()),
            ('<META NAME="ROBOTS" CONTENT="noindex, NoFollow">', ()),
            ('<meta name="robots" content="none">', ()),
            ("", (("X-Robots-Tag", "nofollow"),)),
        ]
    ):
        quiet = Page(f"/quiet/{number}.html", "a page that wants none of its links followed")
        quiet.bar = "meta"
        quiet.head(markup)
        quiet.link(f"/quiet/inside/{number}.html")
        web.add(Page(f"/quiet/inside/{number}.html", "inside"))
        page.link(web.add(quiet, fields=fields))
    index = Page("/quiet/index.html", "not to be indexed, but to be followed")
    index.head('<meta name="robots" content="noindex, follow">')
    index.link("/quiet/followed.html")
    web.add(Page("/quiet/followed.html", "followed"))
    page.link(web.add(index))
    return web.add(page)


def _canonicals(web: Web, _: list[str]) -> str:
    """A canonical that nothing else leads to joins at its page's depth; one out of scope does not."""
    page = Page("/canonicals.html", "canonicals")
    only = Page("/canonical/copy?from=here", "a copy")
    only.head('<link href="/canonical/real.html" rel="canonical">', Edge("/canonical/real.html", "canonical"))
    real = Page("/canonical/real.html", "the real one")
    real.link("/canonical/child.html")
    away = Page("/canonical/away.html", "a copy of something elsewhere")
    away.head(f'<link rel=canonical href="http://{ELSEWHERE}/noise/canonical">')
    for each in (only, real, away, Page("/canonical/child.html", "child")):
        web.add(each)
    page.link(only.path)
    page.link(away.path)
    return web.add(page)


def _bases(web: Web, names: list[str]) -> str:
    """Relative links that mean something else because of `base`."""
    page = Page("/bases.html", "pages with a base")
    for number in range(max(10, len(names) // 100)):
        folder = f"/based/on/{number}/"
        bases = [folder, f"{folder}index.html?x=1#y", f"//{ADDRESS}{folder}", f"http://{ADDRESS}{folder}"]
        based = Page(f"/with/base/{number}.html", "based")
        based.head(f'<base target="_top"><base href="{bases[number % 4]}"><base href="/wrong/">')
        for to, href in [
            (f"{folder}a.html", "a.html"),
            (f"/based/on/{number}-b.html", f"../{number}-b.html"),
            (f"{folder}?q={number}", f"?q={number}") if number % 4 != 1 else (f"{folder}c/", "c/"),
            (f"/based/root/{number}.html", f"/based/root/{number}.html"),
        ]:
            based.link(to, f'<a href="{href}">relative</a>')
            web.add(Page(to, "found through a base"))
        page.link(web.add(based))
    return web.add(page)


def _encodings(web: Web, names: list[str]) -> str:
    """Pages in other encodings; what their links mean goes on the wire as UTF-8 (WHATWG URL §4.4)."""
    page = Page("/encodings.html", "pages in other encodings")
    for number in range(max(10, len(names) // 100)):
        for name, codec, content_type, meta, word in _ENCODINGS:
            foreign = Page(f"/enc/{name}/{number}.html", word)
            foreign.head(meta)
            to = quote(f"/found/{name}/{word}/{number}.html")
            foreign.link(to, f'<a href="/found/{name}/{word}/{number}.html">{word}</a>')
            web.add(Page(to, "found on a page in another encoding"))
            page.link(web.add(foreign, encoding=codec, content_type=content_type))
    return web.add(page)


# name, Python codec, Content-Type, markup in the head, a word. 表 and ソ hold a backslash byte in shift_jis.
_ENCODINGS = (
    ("latin-1", "latin-1", "text/html; charset=ISO-8859-1", "", "café-Größe"),
    ("cp1252", "cp1252", "text/html", "<meta charset=iso-8859-1>", "50€-œuvre"),
    ("sjis", "shift_jis", "text/html", '<meta http-equiv=content-type content="text/html; charset=Shift_JIS">', "表-ソ-日本"),
    ("utf-16", "utf-16", "text/html", "", "Übersicht-日本"),
    ("utf-16be", "utf-16-be", 'text/html; charset="UTF-16BE"', "", "мир"),
    ("koi8-r", "koi8-r", "text/html;charset=koi8-r", "", "мир-и-труд"),
    ("bom", "utf-8-sig", "text/html; charset=latin-1", "", "naïve"),
)  # fmt: skip


def _assets(web: Web, names: list[str]) -> str:
    """Pictures, scripts and style sheets, and what a style sheet loads; asked for with `--assets` only."""
    page = Page("/gallery.html", "a gallery")
    page.asset("/static/app.js", '<script src="{}"></script>')
    page.head('<link rel="stylesheet" href="/static/site.css">', Edge("/static/site.css", "asset"))
    page.head('<link rel="icon" href="/static/icon.png">', Edge("/static/icon.png", "asset"))
    for number in range(max(5, len(names) // 100)):
        page.asset(f"/static/{number}.png", '<img alt="" src="{}">')
    page.asset("/static/set-1.png", '<img alt="" srcset="{} 1x">')
    page.asset("/static/film.mp4", '<video><source src="{}"></video>')
    css = b'@import "more.css"; body { background: url(/static/ground.png) } /* url(/noise/css) */'
    imported = Edge("/static/more.css", "asset"), Edge("/static/ground.png", "asset")
    web.resources["/static/site.css"] = Resource(css, "text/css", edges=imported)
    web.resources["/static/more.css"] = Resource(
        b"p { list-style: url('dot.png') }", "text/css", edges=(Edge("/static/dot.png", "asset"),)
    )
    picture = Resource(b"\x89PNG\r\n\x1a\n" + bytes(100), "image/png")
    for edge in [*page.resource().edges, *imported, Edge("/static/dot.png", "asset")]:
        web.resources.setdefault(edge.to, picture)
    return web.add(page)


def _files(web: Web, _: list[str]) -> str:
    """What is no page is fetched and not read; what is gone is asked for once; a page may be XHTML."""
    page = Page("/files.html", "files")
    looks_like_a_page = b'<html><body><a href="/noise/inside">not a page</a></body></html>'
    types = ("application/pdf", "text/plain", "application/json", "image/png", "application/octet-stream")
    for number, content_type in enumerate(types):
        web.resources[f"/files/{number}.bin"] = Resource(looks_like_a_page, content_type)
        page.link(f"/files/{number}.bin")
    for number in range(5):
        page.link(f"/gone/{number}.html")
    web.resources["/files/none"] = Resource(status=204)
    page.link("/files/none")
    xhtml = Page("/files/x.xhtml", "XHTML")
    xhtml.link("/files/found.html")
    page.link(web.add(xhtml, content_type="application/xhtml+xml"))
    web.add(Page("/files/found.html", "found in XHTML"))
    return web.add(page)


def _other_elements(web: Web, _: list[str]) -> str:
    """A meta refresh and a set of frames."""
    page = Page("/elements.html", "other elements")
    refresh = Page("/refresh.html", "refresh")
    refresh.head('<meta http-equiv="Refresh" content="5; URL=\'/refreshed.html\'">', Edge("/refreshed.html"))
    frames = b'<html><head><title>f</title></head><frameset cols="*,*"><frame src="/frame/1.html"></frameset></html>'
    web.resources["/frames.html"] = Resource(frames, edges=(Edge("/frame/1.html"),))
    for each in (refresh, Page("/refreshed.html", "refreshed"), Page("/frame/1.html", "a frame")):
        web.add(each)
    page.link("/refresh.html")
    page.link("/frames.html")
    return web.add(page)


def _calendar(web: Web, _: list[str]) -> str:
    """A trap: every month leads to the next and to the one before, for ever."""
    page = Page("/diary.html", "a diary")
    page.link(f"{MONTHS}0")
    return web.add(page)


def _month(target: str) -> Resource | None:
    if not target.startswith(MONTHS):
        return None
    number = int(target.removeprefix(MONTHS))
    page = Page(f"{MONTHS}{number}", f"month {number}")
    page.link(f"{MONTHS}{number + 1}")
    page.link(f"{MONTHS}{number - 1}")
    return page.resource()


def _repeating(web: Web, _: list[str]) -> str:
    """A trap: a server that answers a relative link wrongly, so that the path grows at each step."""
    for times in range(1, 12):
        path = "/again" * times + "/"
        page = Page(path, "again")
        page.link(f"{path}again/", '<a href="again/">again</a>')
        web.add(page)
        if times > 3:
            web.endless.add(path)
    return "/again/"


def _late(web: Web, _: list[str]) -> str:
    """A chain to the greatest depth, whose end a slow page finds much nearer: what is behind it counts then."""
    for number in range(1, 9):
        page = Page(f"/chain/{number}.html", "a chain")
        page.link(f"/chain/{number + 1}.html")
        web.add(page)
    late = Page("/late.html", "late")
    late.link("/chain/5.html")
    web.add(late, delay_s=0.3)
    web.link("/", "/chain/1.html")
    return late.path


_FEATURES = (
    *(_redirects, _private, _nofollow, _canonicals, _bases, _encodings, _assets, _files, _other_elements),
    *(_calendar, _repeating, _late),
)


def _robots_and_sitemaps(web: Web, number: int) -> None:
    """Orphans: each is in a sitemap, and leads to one more page."""
    parts: list[list[str]] = [[], [], []]
    for n in range(max(9, number)):
        page = Page(f"/orphan/{n}.html", "an orphan")
        page.link(f"/orphan/child/{n}.html")
        web.orphans.append(web.add(page))
        web.add(Page(f"/orphan/child/{n}.html", "a child"))
        parts[n % 3].append(page.path)
    shut = "/private/listed.html"
    web.add(Page(shut, "listed and disallowed"))
    web.disallowed.add(shut)
    web.orphans.append(shut)
    parts[0].append(shut)
    files = {
        "/sitemap.xml": _urlset(parts[0]),
        "/maps/index.xml": _sitemap("sitemapindex", "sitemap", ["/maps/1.xml", "/maps/2.xml.gz"]),
        "/maps/1.xml": _urlset([*parts[1], f"http://{ELSEWHERE}/noise/listed"]),
        "/maps/2.xml.gz": _urlset(parts[2]),
    }
    for path, body in files.items():
        web.sitemaps.add(path)
        kind = "application/gzip" if path.endswith("gz") else "application/xml"
        web.resources[path] = Resource(body, kind)
    web.robots = (
        "User-agent: other\nDisallow: /\n\n"
        "User-agent: *\nDisallow: /private/\nAllow: /private/open/\nDisallow: /run/*.cgi$\n\n"
        f"Sitemap: http://{ADDRESS}/maps/index.xml\n"
    )


def _urlset(targets: Iterable[str]) -> bytes:
    return _sitemap("urlset", "url", targets)


def _sitemap(root: str, entry: str, targets: Iterable[str]) -> bytes:
    urls = [to if to.startswith("http") else f"http://{ADDRESS}{to}" for to in targets]
    lines = "".join(f"<{entry}><loc>{escape(url)}</loc></{entry}>\n" for url in urls)
    space = "http://www.sitemaps.org/schemas/sitemap/0.9"
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<{root} xmlns="{space}">\n{lines}</{root}>\n'.encode()
