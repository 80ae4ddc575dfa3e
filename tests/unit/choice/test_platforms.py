"""Where an image is, and what a registry's answers say of its processors."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault
from controller.choice.architectures import KNOWN, Location, common, config_digest, locate, of_config, of_index

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("image", "host", "repository", "wanted"),
    [
        ("nginx", "docker.io", "library/nginx", "latest"),
        ("nginx:1.27", "docker.io", "library/nginx", "1.27"),
        ("index.docker.io/nginx", "docker.io", "library/nginx", "latest"),
        ("grafana/loki", "docker.io", "grafana/loki", "latest"),
        ("localhost/web", "localhost", "web", "latest"),
        ("registry.demo:5000/a/b:x", "registry.demo:5000", "a/b", "x"),
        (f"ghcr.io/a/b:x@{DIGEST}", "ghcr.io", "a/b", DIGEST),
        (f"docker.io/nginx@{DIGEST}", "docker.io", "library/nginx", DIGEST),
    ],
)
def test_an_image_is_found_where_other_runtimes_find_it(image: str, host: str, repository: str, wanted: str) -> None:
    assert locate(image) == Location(host, repository, wanted)


@given(st.text(max_size=30))
def test_any_text_is_an_image_or_a_fault_and_never_leaves_its_registry(text: str) -> None:
    try:
        found = locate(text)
    except Fault:
        return
    assert not set("?#% ") & set(found.repository + found.wanted)
    assert ".." not in found.repository


@given(st.binary(max_size=60) | st.text(max_size=60).map(str.encode))
def test_any_bytes_from_a_registry_are_read_without_a_crash(content: bytes) -> None:
    assert of_index(content) is None or of_index(content) == ()
    assert of_config(content) == ()
    assert config_digest(content) in {"", config_digest(content)}


@given(st.recursive(st.none() | st.text(max_size=5), lambda x: st.lists(x) | st.dictionaries(st.text(max_size=5), x)))
def test_an_index_of_anything_names_known_processors_only(entries: object) -> None:
    offered = of_index(json.dumps({"manifests": [{"platform": entries}, entries]}).encode())

    assert offered is not None
    assert set(offered) <= set(KNOWN)


@given(st.lists(st.sampled_from([(), ("amd64",), ("arm64",), ("amd64", "arm64")])))
def test_a_pod_runs_where_all_its_images_do(images: list[tuple[str, ...]]) -> None:
    found = common(images)
    told = [set(each) for each in images if each]

    assert set(found) == (set(KNOWN).intersection(*told) if told else set())


def test_a_32_bit_image_runs_on_amd64_and_odd_spellings_count() -> None:
    platforms = [{"os": "linux", "architecture": "386"}, {"os": "Linux", "architecture": "aarch64", "variant": None}]
    assert of_index(json.dumps({"manifests": [{"platform": each} for each in platforms]}).encode()) == KNOWN
    assert of_config(b'{"os": "linux", "architecture": "386"}') == ("amd64",)
    assert of_config(b'{"os": "windows", "architecture": "amd64"}') == ()
