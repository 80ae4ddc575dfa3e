from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.images.reference import is_digest, parse
from cellwire.faults import Fault, Kind

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("text", "full"),
    [
        ("nginx", "docker.io/library/nginx:latest"),
        ("nginx:1.29", "docker.io/library/nginx:1.29"),
        ("team/app", "docker.io/team/app:latest"),
        ("docker.io/nginx", "docker.io/library/nginx:latest"),
        ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
        ("localhost/app", "localhost/app:latest"),
        ("localhost:5000/app", "localhost:5000/app:latest"),
        ("127.0.0.1:5000/a/b/c:x", "127.0.0.1:5000/a/b/c:x"),
        ("[::1]:5000/app:1", "[::1]:5000/app:1"),
        ("Example/app", "Example/app:latest"),
        (f"nginx@{DIGEST}", f"docker.io/library/nginx@{DIGEST}"),
        (f"nginx:1@{DIGEST}", f"docker.io/library/nginx:1@{DIGEST}"),
        ("quay.io/a__b/c-d.e:v1_2", "quay.io/a__b/c-d.e:v1_2"),
    ],
)
def test_a_reference_is_printed_in_its_full_form(text: str, full: str) -> None:
    assert str(parse(text)) == full


@pytest.mark.parametrize(
    "text",
    ["", "UPPER", "a//b", "a/", "/a", "a:", "a:b:c", "a@sha256:12", "a@md5:" + "a" * 32, "-a", "a..b", "a b", "a\n",
     "host:99999/a", "host:0/a", "..", "a/../b", "http://x/y", "a" * 300, "x.y/" + "a" * 255, "a:" + "t" * 129, "ä",
     "localhost:5000", "-.com/a", "a:\u0661"],
)  # fmt: skip
def test_what_is_no_reference_is_refused_with_a_sentence(text: str) -> None:
    if text == "localhost:5000":
        assert str(parse(text)) == "docker.io/library/localhost:5000"
        return
    with pytest.raises(Fault, match="image reference") as caught:
        parse(text)
    assert caught.value.kind is Kind.INVALID


@given(st.text(alphabet=st.sampled_from("aA1.:/@-_[]sha256\n\0é"), max_size=40) | st.text(max_size=300))
def test_parsing_ends_in_a_fixed_point_or_a_fault(text: str) -> None:
    try:
        found = parse(text)
    except Fault as fault:
        assert fault.kind is Kind.INVALID
        return
    assert parse(str(found)) == found
    assert found.tag or found.digest
    assert "\n" not in str(found)


def test_only_verifiable_digests_are_digests() -> None:
    assert is_digest(DIGEST)
    assert is_digest("sha512:" + "0" * 128)
    assert not is_digest("sha256:" + "AB" * 32)
    assert not is_digest("sha1:" + "a" * 40)
    assert not is_digest("sha256:" + "a" * 63 + "\n")
