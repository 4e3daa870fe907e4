"""The long description of the package: README without the links that lead nowhere outside of the source.

Everything else of the package stands in pyproject.toml.
"""

from __future__ import annotations

import re
from pathlib import Path

from setuptools import setup

_PICTURE = re.compile(r"^!\[.*?\]\(.*?\)\n\n", re.MULTILINE)
_LINK = re.compile(r"\[([^\]]*)\]\((?!https?:)([^)#]*)[^)]*\)")


def described(readme: str) -> str:
    """README with the names of files in the place of links to them."""
    return _LINK.sub(
        lambda link: f"{link[1]}" if link[2] in link[1] else f"{link[1]} (`{link[2] or 'README.md'}`)",
        _PICTURE.sub("", readme),
    )


setup(
    long_description=described((Path(__file__).parent / "README.md").read_text("utf-8")),
    long_description_content_type="text/markdown",
)
