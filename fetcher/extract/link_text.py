"""The text of a link: what a page shows for it, by which a reader finds it again.

Invariant: no more than `_WITHIN` bytes are looked at for one link, so the cost is linear in the page.
"""

from __future__ import annotations

from fetcher import re_compat
from fetcher.extract.tokenizer import attributes_of, text_of

LONGEST = 100  # characters
_WITHIN = 2048
_LABELS = (b"alt", b"aria-label", b"title")

_end = re_compat.compile(rb"</?[aA][ \t\n\f\r/>]").search
_tag = re_compat.compile(rb"<!--(?:[^-]++|-(?!->))*+(?:-->)?+|</?([a-zA-Z][a-zA-Z0-9]*+)([^>]*+)>?+")
_INLINE = frozenset(
    b"abbr b bdi cite code del dfn em font i ins kbd mark q s samp small span strong sub sup tt u var"
    b" wbr".split()
)


def text_of_anchor(page: bytes, at: int, raw: bytes) -> str:
    """Return what is shown between the start tag of an `a`, which ends at `at`, and its end.

    Where that is no text, what stands for its images; or else the label in its attributes `raw`.
    """
    inner = page[at : at + _WITHIN]
    end = _end(inner)
    if end is not None:
        inner = inner[: end.start()]
    if b"<" not in inner:
        return shortened(text_of(inner)) or label_of(raw)
    shown = _tag.sub(lambda found: b"" if found[1] and found[1].lower() in _INLINE else b" ", inner)
    if text := shortened(text_of(shown)):
        return text
    for found in _tag.finditer(inner):
        if found[2] and (text := label_of(found[2])):
            return text
    return label_of(raw)


def label_of(raw: bytes) -> str:
    """Return what the attributes of a tag say in the place of a text: `alt`, `aria-label` or `title`."""
    attributes = attributes_of(raw)
    return next((text for name in _LABELS if (text := shortened(text_of(attributes.get(name, b""))))), "")


def shortened(text: str) -> str:
    """Return the text with its white space collapsed, and no longer than `LONGEST` characters."""
    text = " ".join(text[: 20 * LONGEST].split())
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 1].rstrip()}…"
