"""JSON of strangers is decoded in bounded time, and all that is wrong with it is one fault of whoever decodes it."""

from __future__ import annotations

import base64
import json

import msgspec
import pytest

from cellwire import strangers_json
from cellwire.faults import Fault, Kind
from controller.api import requests
from controller.central import worker_records
from controller.choice import architectures
from controller.cluster import client
from controller.objects import managed
from controller.pods.volume_contents import docker_logins

DEEP = b"[" * 200_000 + b"]" * 200_000
WIDE = b"[" + b",".join([b"[]"] * strangers_json.MOST_BRANCHES) + b"]"


class _Named(msgspec.Struct):
    name: str = ""


@pytest.mark.parametrize("text", [DEEP, b'{"other":' + DEEP + b"}", WIDE, b'"\xff"', b"", b"{"])
def test_a_text_that_nobody_would_write_is_a_decoding_error(text: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        strangers_json.decode(text, _Named)


@pytest.mark.parametrize(
    "said", [{"name": "[" * 200_000}, {"name": '\\"' + "{" * 200_000}, {"name": "\\"}, {"name": '"\\\\"[' * 50_000}]
)
def test_what_stands_in_strings_counts_for_nothing(said: dict[str, str]) -> None:
    assert strangers_json.decode(json.dumps(said).encode(), _Named).name == said["name"]


async def test_a_body_of_a_million_lists_is_refused_before_it_is_decoded() -> None:
    with pytest.raises(msgspec.DecodeError, match="more than 100000 lists and objects"):
        requests._json(WIDE)  # what each body passes


@pytest.mark.parametrize("content", [DEEP, WIDE])
def test_a_registry_that_answers_so_says_nothing(content: bytes) -> None:
    assert architectures.of_index(content) is None
    assert architectures.of_config(content) == ()


@pytest.mark.parametrize("held", [DEEP, WIDE])
def test_a_pull_secret_that_says_so_holds_no_login(held: bytes) -> None:
    secret = {"data": {".dockerconfigjson": base64.b64encode(held).decode()}}
    assert docker_logins([secret], "example.org", "one") == []


def test_bookkeeping_of_managers_that_names_such_a_value_is_none() -> None:
    assert not managed._is_step("v:" + WIDE.decode())  # the one place that decides


def test_a_claim_that_is_nested_without_end_is_refused() -> None:
    with pytest.raises(Fault) as refused:
        worker_records.claim_of(b"\x81\xa5other" + b"\x91" * 200_000 + b"\xc0", "w1")
    assert refused.value.kind is Kind.INVALID


def test_an_event_of_an_api_server_that_is_nested_without_end_is_a_fault() -> None:
    with pytest.raises(Fault, match="an event is no JSON") as refused:
        client._event(b'{"type":' + DEEP + b"}", "/api/v1/pods")  # what each line of a watch passes
    assert refused.value.kind is Kind.BROKEN
