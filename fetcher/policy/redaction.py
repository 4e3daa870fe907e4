"""Redaction of text: no password, no character that steers a terminal, nothing unstorable.

Invariant: text from outside passes here before anyone sees it. `mask` would rather hide too much than
too little, except in a URL that a parser accepts: its path and query stay as they are. Each function
looks first whether there is anything to do, because there seldom is.
"""

from __future__ import annotations

import re
import unicodedata

_HIDDEN = "***"

# C0, DEL, C1, soft hyphen, joiners and fillers, bidi controls, zero-width and line separators,
# invisible operators, lone surrogates, BOM, annotation and tag characters.
_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b-\u200f\u2028-\u202e"
    "\u2060-\u206f\u3164\ud800-\udfff\ufeff\uffa0\ufff9-\ufffb\U000e0000-\U000e007f]"
)


def escape_controls(text: str, limit: int = 0) -> str:
    r"""The text with every character that would not be seen, or would steer, written as `\x1b` or `\u202e`.

    With `limit`, it is cut to that many columns, the last an ellipsis; wide characters count two.
    """
    if not (text.isascii() and text.isprintable()):
        text = _INVISIBLE.sub(_escaped, text)
    if 0 < limit < len(text) or (limit > 0 and not text.isascii()):
        text = _cut(text, limit)
    return text


def escape_controls_json(line: bytes) -> bytes:
    r"""JSON with the same characters written as JSON's own escapes: the value stays as it is."""
    return _INVISIBLE.sub(_json_escape, line.decode()).encode()


def safe_text(raw: str) -> str:
    """Return the text as UTF-8 can store it: lone surrogates become backslash escapes."""
    if raw.isascii():
        return raw
    return raw.encode("utf-8", "backslashreplace").decode("utf-8")


def _escaped(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _json_escape(found: re.Match[str]) -> str:
    pair = found[0].encode("utf-16-be").hex()
    return "".join(f"\\u{pair[start : start + 4]}" for start in range(0, len(pair), 4))


def _cut(text: str, limit: int) -> str:
    columns = 0
    room = 0  # how many characters fit beside the ellipsis
    for character in text:
        columns += 2 if unicodedata.east_asian_width(character) in {"W", "F"} else 1
        if columns < limit:
            room += 1
        if columns > limit:
            return text[:room] + "…"
    return text


# Where an authority begins: after "scheme:/" in any number and kind of slashes, or a bare "//".
_HEAD = re.compile(r":[/\\]+|(?<!\S)[/\\]{2,}")
_BARE_HEAD = re.compile(r"\s*[A-Za-z][A-Za-z0-9+.-]*(?=:[/\\])")
_AUTHORITY = re.compile(r"[^/\\?#\s\"<>]*")
_AUTHORITY_OF_ALL = re.compile(r"[^/\\?#]*")  # the whole text is a URL: white space is part of it
_HOST_AND_PORT = re.compile(r"(?:\[[^\]]*\]|[^:]*)(?::[0-9]*)?")
_WORD = re.compile(r"\S+")
_LINE_WITHOUT_SCHEME = re.compile(r"\s*[^\s:/\\@]+(?<![\"']):(?![0-9]{1,5}(?:[/?#\s]|$))(?=\S)")
_PORT_AND_PATH = re.compile(r"[0-9]{1,5}[/?#]")


def shown(text: str, limit: int = 0) -> str:
    """Return outside text to be shown: secrets masked, control characters visible, at most `limit` long."""
    return escape_controls(mask(text), limit)


def mask(text: str) -> str:
    """Return the text with the passwords of URLs hidden: `http://user:***@host/`, `http://***@host/`.

    A URL may stand anywhere in the text and may be malformed: without its scheme, with one slash, or
    with spaces, slashes or `@` in its password. Masking what is masked changes nothing.
    """
    last = text.rfind("@")
    if last < 0:
        return text
    shown: list[str] = []
    at = 0
    is_in_url = False
    whole = _BARE_HEAD.match(text)
    while at <= last and (head := _HEAD.search(text, at)) is not None:
        shown += (_mask_words(text[at : head.start()], is_in_url=is_in_url), head[0])
        at = head.end()
        is_all = whole is not None and whole.end() == head.start()
        found = (_AUTHORITY_OF_ALL if is_all else _AUTHORITY).match(text, at)
        authority = found[0] if found else ""
        userinfo, at_sign, location = authority.rpartition("@")
        end = at + len(userinfo) if at_sign else -1
        if at <= last and (not _HOST_AND_PORT.fullmatch(location) or (at_sign and not location)):
            end = last  # no host, or the port is none: this is a password with a delimiter in it
        if end >= at:
            shown.append(_mask_userinfo(text[at:end]))
            at = end
        is_in_url = True
    shown.append(_mask_words(text[at:], is_in_url=is_in_url))
    return "".join(shown)


_SECRET_PARAMETER = re.compile(
    r"(?<=[?&;])((?:[^=&;#]*(?:token|secret|signature|passw|api_?key|credential|accesskey)[^=&;#]*"
    r"|sig|key|auth|code|session)=)[^&;#]+",
    re.IGNORECASE,
)


def without_secrets(url: str) -> str:
    """Return a URL for a service that others read: values of parameters that admit or sign are hidden too."""
    url = mask(url)
    return _SECRET_PARAMETER.sub(r"\1REDACTED", url) if "=" in url else url


def _mask_userinfo(userinfo: str) -> str:
    user, _, password = userinfo.partition(":")
    if password in {"", "x-oauth-basic"}:  # then the name is the secret: a token
        return _HIDDEN
    return f"{user}:{_HIDDEN}"


def _mask_words(text: str, *, is_in_url: bool) -> str:
    """`user:password@host` without a scheme, in what lies between URLs."""
    if "@" not in text:
        return text
    if is_in_url:  # up to the white space is the rest of the URL before
        found = _WORD.match(text)
        end = found.end() if found else 0
        return text[:end] + _WORD.sub(_mask_word, text[end:])
    line = _LINE_WITHOUT_SCHEME.match(text)
    if line and line[0].strip().lower() != "mailto:":
        return f"{line[0]}{_HIDDEN}{text[text.rfind('@') :]}"
    return _WORD.sub(_mask_word, text)


def _mask_word(found: re.Match[str]) -> str:
    word = found[0]
    end = word.rfind("@")
    colon = word.find(":", 0, end) if end > 0 else -1
    if colon <= 0 or word[colon - 1] in "\"'" or _PORT_AND_PATH.match(word, colon + 1):
        return word
    if word[:colon].lstrip("\"'(<[").lower() == "mailto":
        return word
    return f"{word[: colon + 1]}{_HIDDEN}{word[end:]}"
