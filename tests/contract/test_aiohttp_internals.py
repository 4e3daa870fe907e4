"""What the `asyncio` backend relies on of aiohttp beyond its documentation, held to the installed release."""

from __future__ import annotations

import ast
import asyncio
import inspect
import re
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import aiohttp.connector
import pytest
from aiohttp import ClientRequest, TCPConnector
from aiohttp.client_proto import ResponseHandler
from aiohttp.client_reqrep import ConnectionKey
from aiohttp.connector import Connection

from fetcher.backends.aiohttp import internals
from fetcher.backends.aiohttp.internals import ATTRIBUTES, KEY_FIELDS, PARAMETERS, READ_OF_REQUEST

RELIED_ON = [(cls, name) for cls, names in ATTRIBUTES.items() for name in names]
PACKAGE = Path(internals.__file__).parent
ROOT = PACKAGE.parents[2]
PUBLIC = {"aiohttp", "aiohttp.abc"}


@pytest.mark.parametrize(
    ("cls", "name"), RELIED_ON, ids=[f"{cls.__name__}.{name}" for cls, name in RELIED_ON]
)
async def test_aiohttp_still_has_the_attribute(cls: type, name: str) -> None:
    loop = asyncio.get_running_loop()
    connector = TCPConnector()
    protocol = ResponseHandler(loop)
    key = ConnectionKey("h", 80, False, True, None, None, None, None)
    lease = Connection(connector, key, protocol, loop)
    made = {TCPConnector: connector, ResponseHandler: protocol, Connection: lease}
    try:
        assert hasattr(made.get(cls, cls), name)
    finally:
        lease.close()
        await connector.close()


@pytest.mark.parametrize(
    ("function", "names"), PARAMETERS.items(), ids=lambda one: getattr(one, "__qualname__", "")
)
def test_aiohttps_method_still_has_the_same_parameters(
    function: Callable[..., Any], names: tuple[str, ...]
) -> None:
    assert tuple(inspect.signature(function).parameters) == names


def test_the_key_of_a_connection_has_the_same_fields() -> None:
    assert ConnectionKey._fields == KEY_FIELDS


def test_the_connector_reads_nothing_else_of_a_request() -> None:
    tree = ast.parse(inspect.getsource(aiohttp.connector))
    read = {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "req"
    }
    assert read <= READ_OF_REQUEST
    assert {"connection_key", "proxy", "is_ssl"} <= read, "it calls it by another name now"


def test_a_request_gives_what_the_connector_reads_before_it_connects() -> None:
    for name in ("host", "port", "ssl"):
        assert isinstance(inspect.getattr_static(ClientRequest, name), property), name


@pytest.mark.parametrize("path", sorted(PACKAGE.glob("*.py")), ids=lambda path: path.stem)
def test_only_one_module_knows_aiohttps_insides(path: Path) -> None:
    if path.stem == "internals":
        return
    inner = {name for names in ATTRIBUTES.values() for name in names if name.startswith("_")} - {"_loop"}
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("aiohttp"):
            assert node.module in PUBLIC, f"{path.name}:{node.lineno}"
        elif isinstance(node, ast.Attribute):
            assert node.attr not in inner, f"{path.name}:{node.lineno} uses {node.attr}"


@pytest.mark.parametrize("library", ["aiohttp", "urllib3"])
def test_the_releases_that_may_be_installed_are_bounded_above(library: str) -> None:
    bounds = re.search(rf'"{library}>=([\d.]+),<([\d.]+)"', (ROOT / "pyproject.toml").read_text())
    assert bounds is not None
    least, below = (tuple(map(int, bound.split("."))) for bound in bounds.groups())
    assert least <= tuple(map(int, version(library).split(".")[:3])) < below
