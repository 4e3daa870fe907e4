"""The typed keyword arguments of the library: each setting that it takes, with a type that fits, and no other."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from datetime import time
from os import PathLike
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import pytest

from fetcher import settings_dict
from fetcher.option_types.values import Deadline
from fetcher.settings import HOST_OPTIONS, OLD_KEYS, OPTIONS, HostSettings, make
from fetcher.settings_dict import FetchDict, HostDict, SettingsDict

NAMES = {"Deadline": Deadline, "HostSettings": HostSettings, **vars(settings_dict)}
TYPED = get_type_hints(SettingsDict, localns=NAMES)
TAKEN = {key: option for key, option in OPTIONS.items() if "library" in option.where}

# One value of each type that a setting may have; where a type has many meanings, those of the key.
SAMPLES: dict[Any, Any] = {
    bool: True, int: 7, float: 2.5, bytes: b"x", time: time(6), Deadline: Deadline(after_s=3.0),
    NoneType: None, Callable: print, PathLike: __import__("pathlib").Path("file"),
}  # fmt: skip
TEXTS = {
    "name": "{host}", "hosts": "a.example", "parser": "module:function", "retry_on": "429", "method": "PUT",
    "user": "a:b", "proxy": "http://127.0.0.1:3128", "resolve": "a.example:80:127.0.0.1", "headers": "A: b",
    "header": "A: b", "user_agent": "x", "cookies": "file", "ca_file": "file", "client_cert": "file",
    "ignore": "meta", "data": "x", "no_proxy": "a.example", "include": "x", "exclude": "x",
}  # fmt: skip


def arms(kind: Any) -> Iterator[Any]:
    if get_origin(kind) in {Union, UnionType}:
        for one in get_args(kind):
            yield from arms(one)
    else:
        yield kind


def sample(key: str, kind: Any) -> Any:
    """A value of the type `kind` for the setting `key`."""
    origin, args = get_origin(kind), get_args(kind)
    if kind is str:
        return TEXTS.get(key, {"deadline": "06:00", "rate": "9/m", "parser_memory": "9M"}.get(key, "9"))
    if kind in SAMPLES:
        return 2 * 1024**2 if key == "parser_memory" else SAMPLES[kind]
    if origin is Literal:
        return args[-1]
    if origin is tuple and args[-1] is not Ellipsis:
        parts = {"user": ("a", "b"), "headers": ("A", "b"), "header": ("A", "b")}
        return parts.get(key, ("a.example", 80, "127.0.0.1"))
    if origin in {list, tuple}:
        return origin([sample(key, next(arms(args[0])))])
    if key == "hosts":
        return {"a.example": HostSettings(per_host=2)}
    if issubclass(origin, Mapping):
        return {"A": "b"}
    if issubclass(origin, Collection):
        return [sample(key, next(arms(args[0]))) if args[0] is not int else 503]
    return SAMPLES[Callable] if origin.__name__ == "Callable" else SAMPLES[origin]


def test_the_typed_settings_are_those_that_the_library_takes() -> None:
    assert set(TYPED) == set(TAKEN) | set(OLD_KEYS)
    assert set(get_type_hints(FetchDict, localns=NAMES)) == set(TYPED) | {"json", "params"}
    assert set(HostDict.__annotations__) == set(HOST_OPTIONS)


@pytest.mark.parametrize("key", TYPED)
def test_a_setting_takes_every_type_that_it_is_said_to_take(key: str) -> None:
    for kind in arms(TYPED[key]):
        make(({} if key == "link_check" else {"parser": print}) | {key: sample(key, kind)})


@pytest.mark.parametrize("key", TAKEN)
def test_the_type_of_a_setting_is_that_of_its_option(key: str) -> None:
    option, kinds = TAKEN[key], set(arms(TYPED[key]))
    assert (bool in kinds) == option.is_flag
    if option.kind.choices and key != "ignore":
        (literal,) = kinds
        assert get_args(literal) == option.kind.choices
    if option.kind.expected.startswith("a whole number"):
        assert kinds <= {int, NoneType}
    if option.kind.expected.endswith(", or none"):
        assert NoneType in kinds
