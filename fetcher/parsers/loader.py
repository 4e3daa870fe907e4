"""The user's parser: found by its name or given as an object, and how it travels to a worker process.

Invariant: what can be wrong with a name is found by `load`, before any request, as a `ConfigError` that
says what to do. A class is made an instance of once for each place that parses: state per worker.
"""

from __future__ import annotations

import ast
import functools
import importlib
import importlib.util
import inspect
import operator
import pickle
import runpy
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from fetcher.errors import ConfigError
from fetcher.policy.redaction import escape_controls, shown

_FORM = "write MODULE:FUNCTION, such as shop.parse:product, or a file: parse.py:product"
_LONGEST = 600  # characters of a message about a parser


class Main(msgspec.Struct, frozen=True):
    """Source of the program's main module: a file, or the name that `python -m` was given."""

    path: str | None = None
    name: str | None = None


class ParserShipment(msgspec.Struct, frozen=True):
    """A user's parser as it travels: its name and where that is looked up, or a pickle."""

    spec: str | None = None
    base: str | None = None
    pickled: bytes | None = None
    main: Main | None = None  # to be imported first: the pickle names things of it

    def load(self) -> UserParser:
        """Load the parser again, in a worker. Raises whatever its module raises."""
        if self.spec is not None:
            return load(self.spec, None if self.base is None else Path(self.base))
        assert self.pickled is not None
        if self.main is not None:
            _import_main(self.main)
        return user_parser_of(pickle.loads(self.pickled), travels=False)  # noqa: S301  (our own parent wrote it)


class UserParser:
    """A parser that was found. `not_picklable_because` says why it can't go to another process."""

    def __init__(
        self,
        thing: Callable[..., Any],
        name: str,
        *,
        shipment: ParserShipment | None,
        not_picklable_because: str = "",
    ) -> None:
        self.name = name
        self.shipment = shipment
        self.not_picklable_because = not_picklable_because
        self.source = _source(thing)
        self.is_async = _is_async(thing)
        self._thing = thing
        self._is_class = inspect.isclass(thing)

    def make(self) -> Parser:
        """Return a parser for one worker. Raises `ConfigError` if its class can't be made an instance of."""
        thing = self._thing
        if not self._is_class:
            return Parser(thing, self)
        try:
            return Parser(thing(), self, is_own=True)
        except Exception as error:
            at = error_location(error, self.source)
            raise ConfigError(
                f"parser: {self.name}() failed: {one_line(error)}{f' ({at})' if at else ''}"
            ) from error


class Parser:
    """Callable of a user's parser in one runner: the function, or an instance of the class."""

    def __init__(self, call: Callable[..., Any], user_parser: UserParser, *, is_own: bool = False) -> None:
        self.call = call
        self.user_parser = user_parser
        self._is_own = is_own

    def close(self) -> Any:
        """End an instance that was made here. An `aclose` gives something to be awaited."""
        if not self._is_own:
            return None
        close = getattr(self.call, "aclose", None) or getattr(self.call, "close", None)
        return close() if callable(close) else None


def load(spec: str, base: Path | None = None) -> UserParser:
    """Return the parser that MODULE:FUNCTION names.

    MODULE is a dotted name, found below `base` (the current directory) or where Python looks, or a path that
    ends in `.py`. FUNCTION is a function or a class whose instances can be called, with one page.

    Raises:
        ConfigError: the name is malformed, or there is no such module or function, or it can't be called.
    """
    where, _, attribute = spec.rpartition(":")
    if not where or not attribute:
        raise ConfigError(f"parser: {escape_controls(spec)!r} is not MODULE:FUNCTION", hint=_FORM)
    base = (base or Path()).resolve()
    module = _module_of_file(base / where, where) if where.endswith(".py") else _module_named(where, base)
    try:
        thing = operator.attrgetter(attribute)(module)
    except AttributeError as error:
        raise ConfigError(
            f"parser: {where} has no {attribute!r}", hint=_choice(module) or "define it there"
        ) from error
    _check(thing, f"{where}:{attribute}")
    return UserParser(thing, spec, shipment=ParserShipment(spec=spec, base=str(base)))


def user_parser_of(thing: Any, *, travels: bool = True) -> UserParser:
    """Take a callable of the library's caller as parser. Raises `ConfigError` if it can't be called."""
    kind = thing if hasattr(thing, "__qualname__") else type(thing)
    name = f"{kind.__module__}:{kind.__qualname__}"
    _check(thing, name)
    if not travels:
        return UserParser(thing, name, shipment=None)
    try:
        pickled = pickle.dumps(thing)
    except Exception as error:  # noqa: BLE001  (whatever a foreign object raises when it is pickled)
        return UserParser(
            thing, name, shipment=None, not_picklable_because=f"it can't be pickled: {one_line(error)}"
        )
    main, why_not = None, ""
    if b"__main__" in pickled:
        main, why_not = _main()
    shipment = None if why_not else ParserShipment(pickled=pickled, main=main)
    return UserParser(thing, name, shipment=shipment, not_picklable_because=why_not)


def one_line(error: BaseException) -> str:
    """Return the type of an error and its text, on one line, fit to be shown."""
    text = " ".join(str(error).split())
    kind = type(error).__qualname__
    return shown(f"{kind}: {text}" if text else kind, _LONGEST)


# -- finding -------------------------------------------------------------------------------------------


def _module_of_file(path: Path, shown: str) -> types.ModuleType:
    try:
        is_there = path.is_file()
    except OSError as error:  # a name that is too long
        raise ConfigError(f"parser: cannot read {escape_controls(shown)}: {error.strerror}") from error
    if not is_there:
        raise ConfigError(
            f"parser: there is no file {escape_controls(shown)}", hint=f"it was looked for at {path}"
        )
    name = f"fetcher_parser_{path.stem}"  # a name of its own: json.py must not become everybody's json
    made = importlib.util.spec_from_file_location(name, path)
    assert made is not None
    assert made.loader is not None
    module = importlib.util.module_from_spec(made)
    sys.modules[name] = module  # where dataclasses and pickle look
    _add_to_path(path.parent)  # as for a script: its neighbours can be imported
    loader = made.loader
    _importing(lambda: loader.exec_module(module), shown)
    return module


def _module_named(name: str, base: Path) -> types.ModuleType:
    if not all(part.isidentifier() for part in name.split(".")):
        raise ConfigError(f"parser: {escape_controls(name)!r} is not the name of a module", hint=_FORM)
    _add_to_path(base)
    importlib.invalidate_caches()
    try:
        module: types.ModuleType = _importing(lambda: importlib.import_module(name), name)
    except ModuleNotFoundError as error:
        raise ConfigError(
            f"parser: there is no module {name!r}",
            hint=f"it was looked for in {base} and where Python looks; name a file by its path: parse.py:f",
        ) from error
    return module


def _add_to_path(folder: Path) -> None:
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))  # as `python -m` and `python FILE` do


def _importing(run: Callable[[], Any], name: str) -> Any:
    try:
        return run()
    except (Exception, SystemExit) as error:
        if isinstance(error, ModuleNotFoundError) and f"{name}.".startswith(f"{error.name}."):
            raise
        at = error_location(error, None)
        raise ConfigError(
            f"parser: {escape_controls(name)} can't be imported: {one_line(error)}{f' ({at})' if at else ''}",
            hint="import it with Python to see more",
        ) from error


def _choice(module: types.ModuleType) -> str:
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_")
        and callable(value)
        and getattr(value, "__module__", "") == module.__name__
    ]
    return f"it defines {', '.join(names[:10])}" if names else ""


def _check(thing: Any, name: str) -> None:
    """Check that a parser can be called as it will be."""
    if not callable(thing):
        raise ConfigError(f"parser: {name} can't be called", hint="name a function, or a class with __call__")
    if inspect.isclass(thing):
        if not any("__call__" in vars(kind) for kind in thing.__mro__):
            raise ConfigError(
                f"parser: instances of {name} can't be called", hint="give it a __call__(self, page)"
            )
        _bind(thing, (), f"parser: {name} must be made without arguments", "give its arguments defaults")
        _bind(
            thing.__call__, (None, None), f"parser: {name} must take one page", "define __call__(self, page)"
        )
    else:
        _bind(thing, (None,), f"parser: {name} must take one page", "define it as f(page)")


def _bind(thing: Any, given: tuple[Any, ...], message: str, hint: str) -> None:
    try:
        signature = inspect.signature(thing)
    except (ValueError, TypeError):  # some built-in functions have none
        return
    try:
        signature.bind(*given)
    except TypeError as error:
        raise ConfigError(message, hint=hint) from error


def _runs(thing: Any) -> Any:
    """Return the function behind a parser: itself, or the `__call__` of its class."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    if inspect.isroutine(thing):
        return thing
    return (thing if inspect.isclass(thing) else type(thing)).__call__


def _is_async(thing: Any) -> bool:
    runs = _runs(thing)
    return inspect.iscoroutinefunction(runs) or inspect.isasyncgenfunction(runs)


def _source(thing: Any) -> str | None:
    code = getattr(inspect.unwrap(_runs(thing)), "__code__", None)
    return None if code is None else code.co_filename


# -- where it went wrong -------------------------------------------------------------------------------


_OURS = str(Path(__file__).parent)


def error_location(error: BaseException, source: str | None) -> str:
    """FILE:LINE of the innermost frame of a traceback that is in `source`; see `location_of`."""
    frames: list[tuple[str, int]] = []
    trace = error.__traceback__
    while trace is not None:
        frames.append((trace.tb_frame.f_code.co_filename, trace.tb_lineno))
        trace = trace.tb_next
    return location_of(frames[::-1], source)


def location_of(frames: list[tuple[str, int]], source: str | None) -> str:
    """FILE:LINE of the first frame in `source`, else of the first that is not ours; empty if there is none.

    The innermost frame comes first.
    """
    foreign = [frame for frame in frames if not frame[0].startswith((_OURS, "<frozen"))]
    found = next((frame for frame in foreign if frame[0] == source), foreign[0] if foreign else None)
    return "" if found is None else escape_controls(f"{found[0]}:{found[1]}")


# -- the main module -----------------------------------------------------------------------------------


def _main() -> tuple[Main | None, str]:
    """Find a way to import the main module in a worker without starting the program again, or why not."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    path = getattr(main, "__file__", None)
    if path is None:
        return None, "it is defined in a session that has no file"
    try:
        tree = ast.parse(Path(path).read_bytes())
    except (OSError, SyntaxError, ValueError):
        return None, f"it is defined in {path}, which can't be read again"
    if not any(isinstance(node, ast.If) and "__name__" in ast.unparse(node.test) for node in tree.body):
        return (
            None,
            f"it is defined in {path}, which has no `if __name__ == '__main__':` around what it starts",
        )
    if spec is not None:
        return Main(name=spec.name), ""
    return Main(path=str(Path(path).resolve())), ""


def _import_main(main: Main) -> None:
    """Import it under the name that multiprocessing gives it, so that what it starts is not started."""
    if main.name is not None:
        content = runpy.run_module(main.name, run_name="__mp_main__", alter_sys=True)
    else:
        assert main.path is not None
        content = runpy.run_path(main.path, run_name="__mp_main__")
    module = types.ModuleType("__mp_main__")
    vars(module).update(content)
    sys.modules["__main__"] = sys.modules["__mp_main__"] = module
