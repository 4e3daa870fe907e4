"""Output file names: render the template of `--name`, make it portable, keep it in the output folder.

Invariant: whatever comes out of `sanitized`, `Template.render` or `deduplicated` is a relative path with `/`
between its segments that stays inside the folder it is resolved in, can be written on every common file
system, never stands for one of the tool's own files, and is unchanged by `sanitized`.

What may not stand in a name is percent-escaped, not dropped, so `..` becomes `.%2E` and two different
URLs seldom meet. Where they do, the caller compares names by `casefold_key` and gives the later one
`deduplicated`.
"""

from __future__ import annotations

import hashlib
import posixpath
import re
import string
import unicodedata
from collections.abc import Callable, Collection, Mapping
from functools import lru_cache
from typing import Any

from fetcher.errors import ConfigError
from fetcher.model import Job, NameHints, Target
from fetcher.policy.file_endings import completed
from fetcher.policy.http import DEFAULT_PORTS

DEFAULT_TEMPLATE = "{host}/{path}"
INDEX = "index.html"

SEGMENT_BYTES = 255  # NAME_MAX
PATH_BYTES = 3500  # below PATH_MAX (4096), with room for the folder
PATH_SEGMENTS = 128  # a hostile URL should not cost a thousand directories
_KEPT_EXTENSION_BYTES = 32
_MARK_BYTES = 9  # "~" and 8 hex digits
_ROOM_FOR_REST = SEGMENT_BYTES + _MARK_BYTES + 2

_FORBIDDEN = frozenset('<>:"|?*\\')
_SUSPECT = re.compile(r'[<>:"|?*\\\x00-\x1f\x7f]')
_ESCAPES = re.compile(r"(?:%[0-9A-Fa-f]{2})+")
# Win32 takes these for devices whatever the extension; spaces before the dot do not help.
_RESERVED = re.compile(r"(?i:con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³]|conin\$|conout\$) *(?:\.|$)")
_OWN_FOLDER = ".fetcher"
_OWN_FILES = frozenset({"results.jsonl", "results.jsonl.1", "data.jsonl", "data.jsonl.1"})

# An ordinary URL: every segment is portable as it stands. Groups: path, final slash, query.
# No possessive groups: before 3.11.5 they match wrongly (python/cpython#106052).
_CHAR = r"[A-Za-z0-9_~!$&'()+,;=@-]"
_PLAIN = re.compile(
    rf"[a-z]+://[^/?]*+((?:/(?!(?i:con|prn|aux|nul|com[0-9]|lpt[0-9]|conin\$|conout\$)(?:[./]|$))"
    rf"{_CHAR}++(?:\.++{_CHAR}++)*)*)(/?)(?:\?({_CHAR}++(?:\.++{_CHAR}++)*))?"
).fullmatch
_PLAIN_CHARS = 240  # so that no segment, `index.html@` included, can be too long


class Template:
    """A `--name` template: text and `{fields}`; `{{` and `}}` are braces.

    Fields are `host path stem ext query sha256 index date` and the columns of the input. Only the template's
    own `/` and those of `{path}` make folders; in any other value a `/` is escaped. With `columns` None
    any other field is taken for a column; one that an entry lacks is empty.

    Raises:
        ConfigError: the template is malformed, names an unknown field or leads out of the folder.
    """

    __slots__ = ("_has_ext", "_is_default", "_parts", "text")

    def __init__(self, text: str, columns: Collection[str] | None = None) -> None:
        self.text = text
        self._is_default = text == DEFAULT_TEMPLATE
        self._parts = _parsed(text, columns)
        self._has_ext = any(field == "ext" for _, field in self._parts)

    def render(
        self,
        target: Target,
        *,
        index: int,
        date: str,
        columns: Mapping[str, Any] | None = None,
        hints: NameHints | None = None,
    ) -> str:
        """The path for `target`, relative to the output folder. `index` counts from 1; `date` is given.

        A name in `hints` takes the place of the URL's last segment and query. Their content type completes
        `{ext}`, or the ending of the whole where that is not a field.
        """
        if self._is_default and hints is None:
            plain = _PLAIN(target.url) if len(target.url) <= _PLAIN_CHARS else None
            if plain is not None:
                path, slash, query = plain.groups()
                name = _host_folder(target.scheme, target.hostname, target.port) + path
                if slash or not path:
                    name += "/" + INDEX
                return name if query is None else f"{name}@{query}"
        source = _Source(target, index, date, hints)
        pieces: list[str] = []
        for literal, field in self._parts:
            pieces.append(literal)
            if field is not None:
                value = _FIELDS.get(field)
                pieces.append(_column(columns, field) if value is None else value(source))
        path = "".join(pieces)
        if hints is not None and not self._has_ext:
            folder, slash, name = path.rpartition("/")
            path = f"{folder}{slash}{completed(name or INDEX, hints.content_type)}"
        return sanitized(path)


def name_template(text: str, *, date: str, most: int = PATH_BYTES) -> Callable[[Job], str]:
    """Return the function that names the file of a job: as its entry says, or by the template `text`.

    A path has at most `most` bytes, which are 550 or more.

    Raises `ConfigError` as `Template` does.
    """
    template = Template(text)

    def name(job: Job) -> str:
        assert job.target is not None
        extra = job.overrides
        if extra is None:
            return template.render(job.target, index=job.id, date=date, hints=job.hints)
        if extra.name:
            return sanitized(extra.name)
        return template.render(job.target, index=job.id, date=date, columns=extra.meta, hints=job.hints)

    if most >= PATH_BYTES:
        return name
    return lambda job: shortened(name(job), most)


def _parsed(text: str, columns: Collection[str] | None) -> list[tuple[str, str | None]]:
    known = [*_FIELDS, *(columns or ())]
    hint = f"fields are {' '.join(known)}; {{{{ and }}}} stand for braces"

    def bad(what: str) -> ConfigError:
        return ConfigError(f"name: bad template {text!r}: {what}", hint=hint)

    if not text:
        raise bad("it is empty")
    try:
        parts = list(string.Formatter().parse(text))
    except ValueError as error:
        raise bad(str(error)) from error
    shape = "".join(literal if field is None else f"{literal}x" for literal, field, _, _ in parts)
    if shape.startswith("/") or ".." in shape.split("/"):
        raise bad("it leads out of the output folder")
    for _, field, form, conversion in parts:
        if field is None:
            continue
        if not field:
            raise bad("a pair of braces without a field")
        if form or conversion:
            raise bad(f"field {field!r} takes no format")
        if columns is not None and field not in known:
            raise bad(f"there is no field {field!r}")
    return [(literal, field) for literal, field, _, _ in parts]


def _column(columns: Mapping[str, Any] | None, field: str) -> str:
    value = None if columns is None else columns.get(field)
    return "" if value is None else str(value).replace("/", "%2F")


class _Source:
    """Values for the template's fields, of one name; the URL is taken apart once."""

    __slots__ = ("content_type", "date", "folders", "index", "last", "query", "target")

    def __init__(self, target: Target, index: int, date: str, hints: NameHints | None = None) -> None:
        self.target = target
        self.index = index
        self.date = date
        before, mark, query = target.url.partition("?")
        self.query = _decoded(query).replace("/", "%2F") if mark else None
        _, _, rest = before.partition("://")
        _, _, path = rest.partition("/")
        *folders, last = path.split("/")
        self.folders = [_decoded(folder) for folder in folders]
        self.last = _decoded(last) or INDEX
        self.content_type = None if hints is None else hints.content_type
        if hints is not None and hints.filename:
            self.last, self.query = _decoded(hints.filename).lstrip(".") or INDEX, None

    @property
    def path(self) -> str:
        name = self.last if self.query is None else f"{self.last}@{self.query}"
        return "/".join([*self.folders, name])


_FIELDS: dict[str, Callable[[_Source], str]] = {
    "host": lambda source: _host(source.target.scheme, source.target.hostname, source.target.port),
    "path": lambda source: source.path,
    "stem": lambda source: posixpath.splitext(source.last)[0],
    "ext": lambda source: posixpath.splitext(completed(source.last, source.content_type))[1],
    "query": lambda source: source.query or "",
    "sha256": lambda source: hashlib.sha256(source.target.url.encode()).hexdigest(),
    "index": lambda source: str(source.index),
    "date": lambda source: source.date.replace("/", "%2F"),
}


def _host(scheme: str, name: str, port: int) -> str:
    return name if port == DEFAULT_PORTS[scheme] else f"{name}_{port}"


@lru_cache(maxsize=4096)
def _host_folder(scheme: str, name: str, port: int) -> str:
    return sanitized(_host(scheme, name, port))


def _decoded(segment: str) -> str:
    """Percent-decoding, only where it gives printable UTF-8 that is safe in a name; `%25` stays."""
    return _ESCAPES.sub(_decoded_run, segment) if "%" in segment else segment


def _decoded_run(match: re.Match[str]) -> str:
    run = match[0]
    try:
        text = bytes.fromhex(run.replace("%", "")).decode()
    except UnicodeDecodeError:
        return run
    return "".join(
        char if char.isprintable() and char not in _FORBIDDEN and char not in "/%" else _escape(char)
        for char in text
    )


def _escape(char: str) -> str:
    return "".join(f"%{byte:02X}" for byte in char.encode("utf-8", "surrogatepass"))


def sanitized(path: str) -> str:
    """`path` as a relative path that is safe to write anywhere below a folder; idempotent.

    Empty segments go; a path that ends in `/` (or is empty) gets `index.html`. Separators other than `/`,
    controls, bidi and other unprintable characters, `<>:"|?*`, trailing dots and spaces, reserved device
    names and the tool's own names are percent-escaped. Text is in NFC. A segment has at most 255 bytes
    and the whole at most 3,500 and 128 segments; what is cut leaves `~` and 8 hex digits of its SHA-256.
    """
    # Normal form twice: an escape ends in a letter or digit, with which a combining mark may compose.
    text = unicodedata.normalize("NFC", _escaped(unicodedata.normalize("NFC", path)))
    segments = [segment for segment in text.split("/") if segment]
    if not segments or text.endswith("/"):
        segments.append(INDEX)
    segments = [_portable_segment(segment) for segment in segments]
    if casefold_key(segments[0]) in _OWN_FILES:
        segments[0] = _escape(segments[0][0]) + segments[0][1:]
    return _shortened(segments)


def _escaped(text: str) -> str:
    if text.isprintable() and _SUSPECT.search(text) is None:
        return text
    return "".join(char if char.isprintable() and char not in _FORBIDDEN else _escape(char) for char in text)


def _portable_segment(segment: str) -> str:
    if segment[-1] in ". ":  # `.` and `..` are cases of this
        segment = segment[:-1] + _escape(segment[-1])
    if _RESERVED.match(segment) or casefold_key(segment) == _OWN_FOLDER:
        segment = _escape(segment[0]) + segment[1:]
    if len(segment) * 4 > SEGMENT_BYTES and len(segment.encode()) > SEGMENT_BYTES:
        segment = _marked(segment, segment)
    return segment


def shortened(path: str, most: int) -> str:
    """`path`, which is safe, in at most `most` bytes (550 or more), as `sanitized` shortens it."""
    return path if len(path) * 4 <= most else _shortened(path.split("/"), most)


def _shortened(segments: list[str], most: int = PATH_BYTES) -> str:
    """Join; where that is too long or too deep, one segment with a hash stands for the middle."""
    path = "/".join(segments)
    if len(segments) <= PATH_SEGMENTS and (len(path) * 4 <= most or len(path.encode()) <= most):
        return path
    kept: list[str] = []
    size = _ROOM_FOR_REST
    for segment in segments[: PATH_SEGMENTS - 2]:
        size += len(segment.encode()) + 1
        if size > most:
            break
        kept.append(segment)
    return "/".join([*kept, "~" + _digits(path), segments[-1]])


def _digits(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _marked(segment: str, hashed: str) -> str:
    """`segment` with `~` and 8 hex digits before its extension, in 255 bytes."""
    stem, extension = posixpath.splitext(segment)
    if len(extension.encode()) > _KEPT_EXTENSION_BYTES:
        stem, extension = segment, ""
    room = SEGMENT_BYTES - _MARK_BYTES - len(extension.encode())
    return f"{stem.encode()[:room].decode(errors='ignore')}~{_digits(hashed)}{extension}"


def deduplicated(path: str, url: str, depth: int | None = None) -> str:
    """`path` with `~` and 8 hex digits of the SHA-256 of `url` before the extension of its last segment.

    With `depth`, that segment (from 0) is changed instead: for a folder whose name is taken by a file.
    """
    segments = path.split("/")
    place = len(segments) - 1 if depth is None else depth
    segments[place] = _marked(segments[place], url)
    return "/".join(segments)


def wanted_name(path: str, url: str) -> str | None:
    """Return the path that `deduplicated` has marked for `url`; None if that has no mark of it."""
    mark = f"~{_digits(url)}"
    place = path.rfind(mark)
    return None if place < 0 else path[:place] + path[place + len(mark) :]


def casefold_key(path: str) -> str:
    """The key under which two names are one file somewhere: without case and normal form (Unicode D145)."""
    if path.isascii():
        return path.lower()
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", path).casefold())


def parents(path: str) -> list[str]:
    """Return the folders that `path` stands in, outermost first: `a/b/c` gives `a`, `a/b`."""
    folders: list[str] = []
    at = path.find("/")
    while at >= 0:
        folders.append(path[:at])
        at = path.find("/", at + 1)
    return folders
