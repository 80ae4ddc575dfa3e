"""Whatever users send is read in bounded time and memory, or refused with a sentence."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.api import yaml_bodies
from controller.objects import patches
from controller.objects.schema.pods import Pod
from controller.objects.shapes import shape_of

ALIASES = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
    f"{name}: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (ALIASES, "has YAML aliases"),
        ("a: &a {b: *a}", "has YAML aliases"),
        ("a: &a {b: c}\nd:\n  <<: *a\n", "has YAML aliases"),
        ("a: " + "x" * yaml_bodies.LONGEST, "too long for YAML"),
        ("[" * 2_000, "cannot be read as YAML"),
        ('a: "\\ud800"', "cannot be read as YAML"),
        ("a: " + "9" * 5000, "cannot be read as YAML"),
        ("a: 1" + ":59" * 200 + ".5", "cannot be read as YAML"),
        ("a: !!timestamp x", "cannot be read as YAML"),
        ("a: !!bool x", "cannot be read as YAML"),
        ('a: !!int ""', "cannot be read as YAML"),
        ("a: !!python/name:os.system", "cannot be read as YAML"),
        ("? [a]\n: b", "cannot be read as YAML"),
    ],
)
def test_yaml_that_no_json_could_say_or_that_grows_is_refused(text: str, why: str) -> None:
    with pytest.raises(Fault, match=why) as refused:
        yaml_bodies.load(text.encode())
    assert refused.value.kind is Kind.INVALID


@given(st.binary(max_size=60) | st.text(alphabet="a:-[]{}&*!|>'\"#? \n19.~%", max_size=60).map(str.encode))
def test_any_bytes_are_yaml_or_refused(data: bytes) -> None:
    try:
        yaml_bodies.load(data)
    except Fault as fault:
        assert fault.kind is Kind.INVALID


def test_yaml_says_what_json_would() -> None:
    read = yaml_bodies.load(b"a: 1\nb: [x, 2026-01-02]\nc: {1: true}\nd: |\n  text\n")
    assert read == {"a": 1, "b": ["x", "2026-01-02"], "c": {"1": True}, "d": "text\n"}


def test_the_copies_of_a_json_patch_are_bounded() -> None:
    double = [{"op": "copy", "from": "/data", "path": f"/data/{number}"} for number in range(60)]
    with pytest.raises(Fault, match="copies of a JSON patch take more than"):
        patches.json_patch({"data": {"a": "x" * 1000}}, double)
    few = patches.json_patch({"data": {"a": "x"}}, double[:2])
    assert few == {"data": {"a": "x", "0": {"a": "x"}, "1": {"a": "x", "0": {"a": "x"}}}}


def test_the_operations_of_a_json_patch_are_bounded() -> None:
    test = {"op": "test", "path": "/a", "value": 1}
    assert patches.json_patch({"a": 1}, [test] * patches.MOST_OPERATIONS) == {"a": 1}
    with pytest.raises(Fault, match="at most 10000 operations"):
        patches.json_patch({"a": 1}, [test] * (patches.MOST_OPERATIONS + 1))


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": value}
    return value


def test_patches_that_nest_without_end_are_refused() -> None:
    deep = [{"op": "add", "path": "/a", "value": {"b": {}}}]
    deep += [{"op": "add", "path": "/a" + "/b" * depth, "value": {"b": {}}} for depth in range(1, 300)]
    with pytest.raises(Fault, match="nested too deeply"):
        patches.json_patch({}, deep)
    for patch in (lambda one: patches.merge({}, one), lambda one: patches.strategic({}, one, shape_of(Pod))):
        with pytest.raises(Fault, match="nested too deeply"):
            patch(nested(90))
