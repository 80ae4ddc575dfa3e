from __future__ import annotations

import contextlib
import json
import sys
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.images import manifest
from cellagent.images.handler import ImageService
from cellagent.images.image_source import Image, ImageConfig
from cellwire.faults import Fault, Kind
from cellwire.platforms import Platform, normalized, rank

D = "sha256:" + "0" * 64
AMD64 = Platform("linux", "amd64", "")


def index(*platforms: tuple[str, str, str]) -> bytes:
    entries = [
        {"digest": f"sha256:{n:064x}", "size": 5, "platform": {"os": o, "architecture": a, "variant": v}}
        for n, (o, a, v) in enumerate(platforms)
    ]
    return json.dumps({"schemaVersion": 2, "mediaType": manifest.OCI_INDEX, "manifests": entries}).encode()


def chosen(content: bytes, wanted: Platform) -> int:
    return int(manifest.choices(content, wanted, "image x")[0].digest[7:], 16)


def test_the_entry_for_the_platform_is_chosen() -> None:
    content = index(("windows", "amd64", ""), ("linux", "arm64", "v8"), ("linux", "amd64", ""), ("linux", "arm", "v7"))
    assert chosen(content, AMD64) == 2
    assert chosen(content, Platform("linux", "arm64", "v8")) == 1
    assert chosen(content, Platform("linux", "arm", "v7")) == 3


def test_an_older_variant_serves_where_the_own_is_missing_and_a_newer_never() -> None:
    content = index(("linux", "arm", "v7"), ("linux", "arm", "v5"), ("linux", "amd64", "v3"), ("linux", "amd64", ""))
    assert chosen(content, Platform("linux", "arm", "v6")) == 1
    assert chosen(content, Platform("linux", "arm", "v7")) == 0
    assert chosen(content, AMD64) == 3


@pytest.mark.parametrize(
    ("offered", "machine", "order"),
    [
        ("linux/amd64", "linux/amd64", 0),
        ("Linux/x86_64/v1", "linux/amd64", 0),
        ("/amd64", "linux/amd64", 0),
        ("linux/i386", "linux/amd64", 1),
        ("linux/amd64/v2", "linux/amd64", None),
        ("linux/amd64/v2", "linux/amd64/v3", 1),
        ("linux/aarch64/8", "linux/arm64/v8", 0),
        ("linux/arm64/v9", "linux/arm64", None),
        ("linux/arm/v7", "linux/arm64", None),
        ("linux/armhf", "linux/arm/v7", 0),
        ("linux/arm", "linux/arm/v8", 1),
        ("linux/arm/5", "linux/arm/v7", 2),
        ("linux/arm/v8", "linux/arm/v7", None),
        ("windows/amd64", "linux/amd64", None),
        ("linux/", "linux/amd64", None),
        ("unknown/unknown", "linux/amd64", None),
        ("linux/riscv64", "linux/riscv64", 0),
    ],
)
def test_platforms_match_as_other_runtimes_have_it(offered: str, machine: str, order: int | None) -> None:
    assert rank(Platform(*offered.split("/")), Platform(*machine.split("/"))) == order


@given(st.builds(Platform, *[st.none() | st.text("amdr v0123486xX_-", max_size=7)] * 3))
def test_a_platform_normalised_stays_so(platform: Platform) -> None:
    once = normalized(platform)
    assert normalized(once) == once


def test_a_missing_platform_is_told_with_what_there_is() -> None:
    with pytest.raises(Fault, match=r"no variant for linux/amd64.*it has linux/arm64/v8, windows/amd64") as caught:
        manifest.choices(
            index(("linux", "arm64", "v8"), ("windows", "amd64", ""), ("unknown", "unknown", "")), AMD64, "image x"
        )
    assert caught.value.kind is Kind.NOT_FOUND


def described(**changes: Any) -> bytes:
    value: dict[str, Any] = {
        "schemaVersion": 2,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": D, "size": 3},
        "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": D, "size": 7}],
    }
    return json.dumps(value | changes).encode()


def test_kinds_are_told_apart_by_what_they_say_and_by_what_they_hold() -> None:
    assert manifest.is_index(index(), "", "x")
    assert not manifest.is_index(described(), "", "x")
    assert not manifest.is_index(described(mediaType=manifest.DOCKER_MANIFEST), "text/plain", "x")
    assert manifest.is_index(b'{"manifests": []}', manifest.DOCKER_LIST + "; charset=utf-8", "x")


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b'{"schemaVersion": 1}', Kind.UNSUPPORTED),
        (b'{"schemaVersion": 2, "mediaType": "application/unheard-of"}', Kind.UNSUPPORTED),
        (described(manifests=[]), Kind.BROKEN),
        (b"{", Kind.BROKEN),
        (b"[" * 100_000, Kind.BROKEN),
        (b"\xff", Kind.BROKEN),
    ],
)
def test_unknown_kinds_and_nonsense_are_refused(content: bytes, kind: Kind) -> None:
    with pytest.raises(Fault) as caught:
        manifest.is_index(content, "", "image x")
    assert caught.value.kind is kind


@pytest.mark.parametrize(
    "changes",
    [
        {"config": None},
        {"layers": None},
        {"layers": [{"mediaType": "tar", "digest": "sha256:..", "size": 1}]},
        {"layers": [{"mediaType": "tar", "digest": D, "size": -1}]},
        {"layers": [{"mediaType": "tar", "digest": D, "size": 1 << 60}]},
        {"layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar+gzip+encrypted", "digest": D, "size": 1}]},
        {"layers": [{"mediaType": "application/json", "digest": D, "size": 1}]},
        {"layers": [{"mediaType": "tar", "digest": D, "size": 1}] * 501},
        {"config": {"digest": D, "size": 1 << 40}},
    ],
)
def test_a_manifest_out_of_bounds_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(Fault):
        manifest.decode_manifest(described(**changes), "image x")


def test_a_configuration_tells_what_a_container_is_made_from() -> None:
    content = {
        "os": "linux",
        "architecture": "amd64",
        "config": {"Entrypoint": ["/a"], "Cmd": None, "Volumes": {"/v": {}}, "Labels": {"k": "v"}, "Healthcheck": {}},
        "rootfs": {"diff_ids": [D]},
        "history": [{}],
    }
    found = manifest.decode_config(json.dumps(content).encode(), "image x")
    assert found.config.entrypoint == ("/a",)
    assert found.config.cmd == ()
    assert found.config.volumes == ("/v",)
    assert found.diff_ids == (D,)
    assert found.platform == AMD64


def test_chain_ids_are_those_of_the_specification() -> None:
    one, two = D, "sha256:" + "1" * 64
    assert manifest.chain_ids([one]) == (one,)
    assert manifest.chain_ids([one, two])[1] == manifest.digest_of(f"{one} {two}".encode())


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["manifests", "config", "layers", "digest", "size", "mediaType", "platform", "rootfs", "diff_ids"]
            ),
            inner,
            max_size=5,
        )
    ),
)


@given(JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=60))
def test_any_answer_is_decoded_or_ends_in_a_fault(content: bytes) -> None:
    for decode in (
        lambda: manifest.is_index(content, "", "x"),
        lambda: manifest.choices(content, AMD64, "x"),
        lambda: manifest.decode_manifest(content, "x"),
        lambda: manifest.decode_config(content, "x"),
    ):
        with contextlib.suppress(Fault):
            decode()


def test_a_configuration_that_is_nested_as_deep_as_python_reads_is_told_or_left_out() -> None:
    image = Image(id="sha256:1", digests=(), tags=(), size=1, config=ImageConfig(), layers=())
    for depth in range(sys.getrecursionlimit() - 200, sys.getrecursionlimit() + 10):
        raw = b'{"a":' + b"[" * depth + b"]" * depth + b"}"
        store = SimpleNamespace(raw=lambda _, raw=raw: raw, top=lambda _: "chain")
        service = ImageService(cast("Any", store), cast("Any", None))
        assert '"chainID": "chain"' in service._info(image)["info"]
