"""Documents and those who type what they say: blocks of code, a site for them, a shell, a notebook.

The site stands in for `SITE`: each of its paths is a page with a validator.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from support.faultserver import Exchange, FaultServer

ROOT = Path(__file__).parents[2]
MYPY_CACHE = str(ROOT / ".mypy_cache" / "tests")  # a first check of all takes half a minute
SITE = "https://example.org"
LIMIT_S = 60.0
_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)

# What a notebook's kernel does: each cell is compiled with `await` allowed, and run in the one running loop.
KERNEL = """
import ast, asyncio, inspect, json, sys

async def main():
    names = {"__name__": "__main__"}
    for number, cell in enumerate(json.load(sys.stdin), 1):
        code = compile(cell, f"cell {number}", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        pending = eval(code, names)
        if inspect.iscoroutine(pending):
            await pending

asyncio.run(main())
"""

# Programs one after the other in one process, each with names of its own.
PROGRAMS = """
import json, sys

for number, block in enumerate(json.load(sys.stdin), 1):
    exec(compile(block, f"block {number}", "exec"), {"__name__": "__main__"})
"""


def text_of(name: str) -> str:
    """A document, by its path from the root."""
    return (ROOT / name).read_text("utf-8")


def blocks(text: str, language: str) -> list[str]:
    """The blocks of a document in one language."""
    return [block for found, block in _BLOCK.findall(text) if found == language]


def languages(text: str) -> set[str]:
    """The languages of a document's blocks."""
    return {language for language, _ in _BLOCK.findall(text)}


def program_beside_the_documents(name: str) -> ModuleType:
    """A program of `docs/`, imported by its path."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def serve_pages(server: FaultServer) -> None:
    """Answer every path with a page that has a validator and a link, every method alike."""

    async def page(x: Exchange) -> None:
        body = f'<title>{x.hit.path}</title>\n<a href="/product/1">one</a>\n'.encode()
        is_known = x.hit.header("if-none-match") == '"1"'
        fields = [("ETag", '"1"'), ("Content-Type", "text/html; charset=utf-8")]
        await x.answer(304 if is_known else 200, fields, b"" if is_known else body)

    server.route("/", page)


class Reader:
    """Somebody who types what a document says, in a folder with the files that it speaks of.

    Its blocks of Python that begin with a file's name are in that file. `variables` are in the environment.
    """

    def __init__(
        self, folder: Path, server: FaultServer, text: str = "", variables: Mapping[str, str] | None = None
    ) -> None:
        serve_pages(server)
        self._variables = variables or {}
        self._server = server
        self.folder = folder / "reader"
        self.folder.mkdir()
        self.write("urls.txt", f"# pages\n{SITE}/a\n\n{SITE}/b\n{SITE}/c\n")
        self.write("more.txt", f"{SITE}/d\n")
        for block in blocks(text, "json"):
            self.write("labelled.jsonl" if '"label"' in block else "urls.jsonl", block)
        for block in blocks(text, "python"):
            if found := re.match(r"# (\w+\.py)\n", block):
                self.write(found[1], block)
        for block in blocks(text, "toml"):
            if "[job]" in block:
                self.write("nightly.toml", block)
        self._tools = folder / "bin"
        self._tools.mkdir()
        self._tool("fetcher", f'exec {shlex.quote(sys.executable)} -m fetcher "$@"')
        if shutil.which("jq") is None:  # then it is enough that it would get lines of JSON
            self._tool("jq", 'shift $(($# > 2 ? 2 : $#))\nexec cat -- "$@"')
        self._home = folder / "home"
        self._home.mkdir()

    def write(self, name: str, text: str) -> None:
        """Write a file; the site in it is the one that answers."""
        (self.folder / name).write_text(self.localised(text))

    def _tool(self, name: str, script: str) -> None:
        path = self._tools / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)

    def localised(self, text: str) -> str:
        """Return `text` with the address of the server in the place of the site's."""
        return text.replace(SITE, self._server.url(""))

    def run(self, *command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command to its end."""
        return subprocess.run(
            command,
            cwd=self.folder,
            env={
                "PATH": f"{self._tools}:{os.environ['PATH']}",
                "HOME": str(self._home),
                "LANG": "C.UTF-8",
                **self._variables,
            },
            input=self.localised(stdin),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )

    def shell(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run lines of shell; the first that fails ends them."""
        return self.run("bash", "-euo", "pipefail", "-c", self.localised(script))

    def python(self, code: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        """Run a program; a warning is an error."""
        return self.run(sys.executable, "-W", "error", "-c", self.localised(code), stdin=stdin)
