"""Whatever users send is read in bounded time and memory, or refused with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.api import twice, yaml_bodies
from controller.objects import admission, patches
from controller.objects.fields import MOST_CAUSES, Json, Report, dns_label, dns_name, labels, qualified_name
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
        ("a: !!timestamp x", "tag .*timestamp is not supported .line 1, column 4"),
        ("a: !!binary eA==", "tag .*binary is not supported"),
        ("a: !!set {b}", "tag .*set is not supported"),
        ("a: !!bool x", "'x' is not of the type that its tag names"),
        ('a: !!int ""', "'' is not of the type that its tag names"),
        ("a: !!python/name:os.system", "tag .* is not supported"),
        ("? [a]\n: b", "the name of a field is a text"),
        ("~: b", "the name of a field is null"),
        ("a: .inf", ".inf is no number that JSON has"),
        ("a: 1\n---\na: 2", "expected a single document"),
        ("<<: {a: 1}", "merges .<<. are not supported"),
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
    assert read == ({"a": 1, "b": ["x", "2026-01-02"], "c": {"1": True}, "d": "text\n"}, ())


# As sigs.k8s.io/yaml 1.6 says of each.
@pytest.mark.parametrize(
    ("text", "said"),
    [
        *(("no", False), ("on", True), ("y", True), ("OFF", False), ("tRUE", "tRUE"), ("~", None), ("", None)),
        *(("010", 8), ("08", 8), ("0o10", 8), ("0x1F", 31), ("-0b11", -3), ("1_000", 1000), ("00", 0), ("0x", "0x")),
        *(("1:30", "1:30"), ("12:30:45", "12:30:45"), ("190:20:30.15", "190:20:30.15")),
        *(("1e3", 1000), ("1.5E+3", 1500), (".5", 0.5), ("1.0", 1), ("1e22", 1e22), ("1e400", "1e400")),
        *(("2026-01-02", "2026-01-02"), ("2026-01-02 03:04:05 +2", "2026-01-02 03:04:05 +2"), ("2026-13-45",) * 2),
        *(("=", "="), ("'no'", "no"), ("!!str 1", "1"), ("!!int '1'", 1), ("9" * 5000, "9" * 5000)),
    ],
)
def test_what_is_not_quoted_stands_for_what_it_does_in_kubernetes(text: str, said: object) -> None:
    (read,) = cast("dict[str, object]", yaml_bodies.load(f"a: {text}".encode()).value).values()
    assert (type(read), read) == (type(said), said)


@pytest.mark.parametrize("name", ["true", "on", "1", "1.5", "2026-01-02", "a"])
def test_the_names_of_fields_are_texts(name: str) -> None:
    said = {"on": "true"}.get(name, name)
    assert yaml_bodies.load(f"{name}: x".encode()).value == {said: "x"}


TWICE = """
{"spec": {"replicas": 1, "replicas": 2, "template": {
  "metadata": {"labels": {"a.b": "c", "a.b": "d"}},
  "containers": [{"name": "a"}, {"name": "b", "name": "c", "env": [{"name": "x", "name": "y", "name": "z"}]}]
}}, "spec": {}}
"""


@pytest.mark.parametrize("of", [lambda data: yaml_bodies.load(data).duplicates, twice.duplicates_of])
def test_fields_that_come_twice_are_told_by_their_paths(of: Callable[[bytes], tuple[str, ...]]) -> None:
    inner = "spec.template.containers[1]"
    assert of(TWICE.encode()) == (
        *("spec.replicas", "spec.template.metadata.labels.a.b", f"{inner}.name", f"{inner}.env[0].name", "spec"),
    )
    assert of(b'{"a": {"b": 1}, "c": {"b": 1}, "d": [{"b": 1}, {"b": 1}]}') == ()


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


def test_many_fields_that_come_twice_under_long_names_are_few_and_short_when_told() -> None:
    name = "k" * 50_000
    members = ", ".join(f'"a{number}": 1, "a{number}": 1' for number in range(500))
    in_yaml = yaml_bodies.load(f"? {name}\n: {{{members}}}\n".encode()).duplicates
    for paths in (in_yaml, twice.duplicates_of(f'{{"{name}": {{{members}}}}}'.encode())):
        assert len(paths) == admission.MOST_WARNINGS
        assert sum(map(len, paths)) < 30_000


def test_warnings_are_no_more_and_no_longer_than_headers_can_be() -> None:
    how = admission.How()
    for number in range(1000):
        how.warn(f"{number} {'x' * 10_000}")
    assert len(how.warnings) == admission.MOST_WARNINGS
    assert max(map(len, how.warnings)) <= admission.LONGEST_WARNING + 1


def test_of_more_mistakes_than_anybody_reads_the_first_ones_are_told() -> None:
    report = Report()
    labels({f"!{number}": "x" for number in range(10_000)}, "metadata.labels", report)
    assert len(report.causes) == MOST_CAUSES


@pytest.mark.parametrize(
    "patch",
    [
        {"metadata": {"$deleteFromPrimitiveList/finalizers": 5}},
        {"metadata": {"$deleteFromPrimitiveList/name": ["a"]}},
        {"metadata": {"$retainKeys": 5}},
    ],
)
def test_directives_of_a_patch_that_are_no_lists_are_refused(patch: Json) -> None:
    with pytest.raises(Fault, match="must be a list") as refused:
        patches.strategic({"metadata": {"name": "x"}}, patch, shape_of(Pod))
    assert refused.value.kind is Kind.INVALID


def test_members_of_a_list_keep_their_places_when_some_are_patched() -> None:
    ports = [{"containerPort": 1, "protocol": "UDP"}, {"containerPort": 2}, {"containerPort": 1}]
    pod: Json = {"spec": {"containers": [{"name": "a", "ports": ports}, {"name": "b"}, {"name": "c"}]}}
    patch: Json = {
        "spec": {
            "containers": [
                {"name": "b", "$patch": "delete"},
                {"name": "a", "ports": [{"containerPort": 1, "name": "x"}]},
                {"name": "d"},
                {"name": "b", "image": "i"},
            ]
        }
    }
    merged = cast("Json", patches.strategic(pod, patch, shape_of(Pod)))
    assert merged["spec"]["containers"] == [
        {"name": "a", "ports": [{"containerPort": 1, "protocol": "UDP", "name": "x"}, *ports[1:]]},
        {"name": "c"},
        {"name": "d"},
        {"name": "b", "image": "i"},
    ]


def test_a_place_in_a_list_is_a_number_from_its_beginning_on() -> None:
    for place in ("-1", " 0", "1_0", "\N{ARABIC-INDIC DIGIT ONE}"):
        with pytest.raises(Fault, match="cannot be applied"):
            patches.json_patch({"a": [1, 2]}, [{"op": "remove", "path": f"/a/{place}"}])


@pytest.mark.parametrize("name", ["x\n", "x\r", "\nx", "x\x1b[31m", "x\0"])
@pytest.mark.parametrize("check", [dns_name, dns_label, qualified_name])
def test_no_name_has_a_character_that_cannot_be_seen(check: Callable[[object, str, Report], None], name: str) -> None:
    report = Report()
    check(name, "metadata.name", report)
    labels({"a": name}, "metadata.labels", report)
    assert len(report.causes) == 2
