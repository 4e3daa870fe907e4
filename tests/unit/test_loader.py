"""Finding the user's parser, what can be wrong with it, and how it travels."""

from __future__ import annotations

import functools
import os
import pickle
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support import parsers

from fetcher.errors import ConfigError
from fetcher.parsers.loader import UserParser, error_location, load, one_line, user_parser_of

TESTS = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def same_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `load` adds to the path is taken away again."""
    monkeypatch.setattr(sys, "path", list(sys.path))


def test_a_dotted_name_finds_a_module_below_the_base(tmp_path: Path) -> None:
    (tmp_path / "shop_pkg").mkdir()
    (tmp_path / "shop_pkg" / "__init__.py").write_text("")
    (tmp_path / "shop_pkg" / "parse.py").write_text("def product(page): return page + 1\n")
    assert load("shop_pkg.parse:product", tmp_path).make().call(1) == 2


def test_a_path_to_a_file_finds_it_and_its_neighbours(tmp_path: Path) -> None:
    (tmp_path / "neighbour_of_parser.py").write_text("N = 5\n")
    (tmp_path / "my-parser.py").write_text(
        "from neighbour_of_parser import N\ndef parse(page): return page * N\n"
    )
    assert load("my-parser.py:parse", tmp_path).make().call(2) == 10


def test_a_file_named_like_a_module_of_python_does_not_take_its_place(tmp_path: Path) -> None:
    import json

    (tmp_path / "json.py").write_text("def parse(page): return 1\n")
    load("json.py:parse", tmp_path)
    assert sys.modules["json"] is json


def test_an_attribute_of_a_class_can_be_named(tmp_path: Path) -> None:
    (tmp_path / "nested.py").write_text("class Of:\n    @staticmethod\n    def site(page): return page\n")
    assert load("nested.py:Of.site", tmp_path).make().call(3) == 3


@pytest.mark.parametrize(
    ("spec", "message", "hint"),
    [
        ("nothing", "'nothing' is not MODULE:FUNCTION", "write MODULE:FUNCTION"),
        (":f", "is not MODULE:FUNCTION", "write MODULE:FUNCTION"),
        ("m:", "is not MODULE:FUNCTION", "write MODULE:FUNCTION"),
        ("no such:f", "is not the name of a module", "write MODULE:FUNCTION"),
        ("no_such_module_here:f", "there is no module 'no_such_module_here'", "it was looked for in"),
        ("no/such/file.py:f", "there is no file no/such/file.py", "it was looked for at"),
        ("support.parsers:no_such", "support.parsers has no 'no_such'", "it defines "),
        ("support.parsers:not_callable", "can't be called", "name a function"),
        (
            "support.parsers:NotCallable",
            "instances of support.parsers:NotCallable can't be called",
            "__call__",
        ),
        ("support.parsers:NeedsArgument", "must be made without arguments", "defaults"),
        ("support.parsers:takes_nothing", "must take one page", "f(page)"),
        ("bad_syntax.py:f", "bad_syntax.py can't be imported: SyntaxError", "import it"),
        ("exits.py:f", "exits.py can't be imported: SystemExit: 3", "import it"),
        ("wants_more.py:f", "No module named 'not_there_either'", "import it"),
        ("raises.py:f", "raises.py can't be imported: ZeroDivisionError: division by zero (", "import it"),
    ],
)
def test_each_way_to_be_wrong_is_a_config_error_that_says_what_to_do(
    spec: str, message: str, hint: str, tmp_path: Path
) -> None:
    (tmp_path / "bad_syntax.py").write_text("def f(page:\n")
    (tmp_path / "exits.py").write_text("raise SystemExit(3)\n")
    (tmp_path / "wants_more.py").write_text("import not_there_either\n")
    (tmp_path / "raises.py").write_text("def f(page): ...\n\n1 / 0\n")
    with pytest.raises(ConfigError) as caught:
        load(spec, tmp_path)
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert "\n" not in caught.value.message + caught.value.hint


def test_an_import_that_fails_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "raises.py").write_text("def f(page): ...\n\n1 / 0\n")
    with pytest.raises(ConfigError, match=r"raises\.py:3\)"):
        load("raises.py:f", tmp_path)


@pytest.mark.parametrize(
    ("thing", "is_async"),
    [
        (parsers.echo, False),
        (parsers.awaits, True),
        (parsers.awaits_items, True),
        (parsers.AwaitsEach, True),
        (parsers.AwaitsEach(), True),
        (parsers.Counting, False),
        (functools.partial(parsers.awaits), True),
        (functools.partial(parsers.echo), False),
        (len, False),
    ],
)
def test_it_is_known_whether_a_parser_is_asynchronous(thing: object, is_async: bool) -> None:
    assert user_parser_of(thing).is_async is is_async


def test_a_class_gives_each_place_an_instance_of_its_own() -> None:
    user_parser = user_parser_of(parsers.Counting)
    assert user_parser.make().call is not user_parser.make().call


def test_a_class_whose_constructor_fails_is_a_config_error_with_the_place(tmp_path: Path) -> None:
    (tmp_path / "fails.py").write_text(
        "class P:\n    def __init__(self): raise OSError('no')\n    def __call__(self, page): ...\n"
    )
    with pytest.raises(ConfigError, match=r"fails.py:P\(\) failed: OSError: no \(.*fails.py:2\)"):
        load("fails.py:P", tmp_path).make()


@pytest.mark.parametrize("spec", ["support.parsers:echo", f"{TESTS}/support/parsers.py:gives"])
def test_a_named_parser_travels_as_its_name(spec: str) -> None:
    shipment = load(spec, TESTS).shipment
    assert shipment is not None
    assert shipment.pickled is None
    assert isinstance(pickle.loads(pickle.dumps(shipment)).load(), UserParser)


def test_a_parser_of_a_module_travels_by_pickle() -> None:
    shipment = user_parser_of(functools.partial(parsers.echo)).shipment
    assert shipment is not None
    assert shipment.load().make().call.func is parsers.echo


@pytest.mark.parametrize("thing", [lambda page: 1, parsers.with_argument])
def test_a_parser_that_can_not_be_pickled_says_why(thing: object) -> None:
    user_parser = user_parser_of(thing)
    assert user_parser.shipment is None
    assert "it can't be pickled: " in user_parser.not_picklable_because


def test_what_is_not_callable_is_refused_by_the_library_too() -> None:
    with pytest.raises(ConfigError, match="can't be called"):
        user_parser_of(5)


_SCRIPT = """
from fetcher.parsers.loader import user_parser_of
def parse(page): return 1
{guard}
user_parser = user_parser_of(parse)
print(user_parser.not_picklable_because or user_parser.shipment.main)
"""


@pytest.mark.parametrize(
    ("guard", "said"),
    [("", "has no `if __name__ == '__main__':`"), ("if __name__ == '__main__': pass", "Main(path='")],
)
def test_a_parser_of_a_script_travels_only_if_the_script_can_be_imported_again(
    guard: str, said: str, tmp_path: Path
) -> None:
    script = tmp_path / "script.py"
    script.write_text(_SCRIPT.format(guard=guard))
    assert said in _output(str(script))


def test_a_parser_of_a_session_without_a_file_does_not_travel() -> None:
    assert "a session that has no file" in _output("-c", _SCRIPT.format(guard=""))


def test_a_parser_of_a_script_arrives_without_starting_the_script_again(tmp_path: Path) -> None:
    script = tmp_path / "whole.py"
    script.write_text(
        "import asyncio, os\n"
        "from support.parsers import visit\n"
        "from fetcher.parsers.reader import make_reader\n"
        "def parse(page): return {'pid': os.getpid()}\n"
        "async def main():\n"
        "    reader = make_reader(notice=print, parser=parse, offload='processes')\n"
        "    (reading,) = await reader.read([visit(b'x')])\n"
        "    await reader.aclose()\n"
        "    print('run', reading.data != [b'{\"pid\":%d}' % os.getpid()], reading.error)\n"
        "if __name__ == '__main__':\n"
        "    asyncio.run(main())\n"
    )
    assert _output(str(script)) == "run True None\n"


def _output(*arguments: str) -> str:
    path = os.pathsep.join(filter(None, sys.path))
    done = subprocess.run(
        [sys.executable, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert not done.stderr
    return done.stdout


def test_an_error_is_one_visible_line_without_secrets() -> None:
    error = ValueError("a\nb \x1b]0;t\x07 http://u:secret@h/")
    assert one_line(error) == "ValueError: a b \\x1b]0;t\\x07 http://u:***@h/"
    assert len(one_line(ValueError("x" * 10_000))) < 1000


def test_the_place_of_an_error_is_the_parsers_own_line_not_a_librarys() -> None:
    module = ModuleType("m")
    exec(
        compile("import json\ndef f(page):\n    return json.loads('{')\n", "/x/own.py", "exec"), vars(module)
    )
    with pytest.raises(ValueError, match="Expecting") as caught:
        module.f(None)
    assert error_location(caught.value, "/x/own.py") == "/x/own.py:3"
    assert "decoder.py:" in error_location(caught.value, None)
