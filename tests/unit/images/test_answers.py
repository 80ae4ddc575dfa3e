"""What registries and proxies say, read."""

from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.images.credentials import challenges_of
from cellagent.images.registry_answers import (
    LEAST_SECONDS,
    TRIED_SECONDS,
    WORDS_SHOWN,
    RetryBudget,
    seconds_asked,
    shown,
)
from cellwire.faults import Fault
from cellwire.proxies import DIRECT, Proxies, merged, proxies_of


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"errors":[{"code":"DENIED","message":"no right"},{"code":"X"}]}', " (DENIED: no right; X)"),
        (b'{"details":"incorrect username or password"}', " (incorrect username or password)"),
        (b'{"error":"invalid_scope","error_description":"which?"}', " (invalid_scope: which?)"),
        (b"quota\n of \x1b[31mthe day", " (quota of [31mthe day)"),
        (b"<html><body>502</body></html>", ""),
        (b"", ""),
        (b"[" * 3000, " (" + "[" * WORDS_SHOWN + ")"),
        (b'{"errors":"many"}', ' ({"errors":"many"})'),
    ],
)
def test_a_registrys_own_words_are_found_and_made_safe_to_show(body: bytes, words: str) -> None:
    assert shown(body) == words


@given(st.binary(max_size=300))
def test_any_body_gives_words_of_one_short_line(body: bytes) -> None:
    assert len(shown(body)) <= WORDS_SHOWN + 3
    assert shown(body).isprintable()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("20", 20),
        (" 7 ", 7),
        ("Thu, 01 Jan 1970 00:01:40 GMT", 90),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0),
        ("soon", 0),
        ("٣", 0),
        ("-1", 0),
        ("", 0),
    ],
)
def test_how_long_to_wait_is_a_number_or_a_date(text: str, seconds: float) -> None:
    assert seconds_asked(text, 10.0) == seconds


@pytest.mark.parametrize(
    ("header", "schemes"),
    [
        ('Bearer realm="https://a/t",service="x",scope="repository:a:pull,push"', [("bearer", "https://a/t")]),
        ('Basic realm="x", Bearer realm="https://b"', [("basic", "x"), ("bearer", "https://b")]),
        ('Negotiate, Basic realm="q, Bearer realm=1"', [("negotiate", ""), ("basic", "q, Bearer realm=1")]),
        ('Bearer realm = "x" , service = "y"', [("bearer", "x")]),
        ('Bearer realm="a\\"b"', [("bearer", 'a"b')]),
        ("basic", [("basic", "")]),
        ("", []),
    ],
)
def test_one_header_may_hold_several_challenges(header: str, schemes: list[tuple[str, str]]) -> None:
    assert [(one.scheme, one.realm) for one in challenges_of(header)] == schemes


@given(st.text(string.ascii_letters + '"\\,= \t-', max_size=60))
def test_no_header_is_too_odd_to_be_read(header: str) -> None:
    challenges_of(header)


PROXIES = Proxies(
    http="http://p:1",
    https="http://p:2",
    exempt=("a.test", ".b.test", "*.c.test", "10.0.0.0/8", "[::5]:443", "d.test:8443", "192.0.2.1"),
)


@pytest.mark.parametrize(
    ("address", "proxy"),
    [
        ("https://registry.test/v2/", "http://p:2"),
        ("http://registry.test/v2/", "http://p:1"),
        ("https://a.test", ""),
        ("https://deep.A.test.", ""),
        ("https://nota.test", "http://p:2"),
        ("https://b.test", "http://p:2"),
        ("https://x.b.test", ""),
        ("https://x.c.test", ""),
        ("https://10.1.2.3:5000", ""),
        ("https://11.1.2.3", "http://p:2"),
        ("https://[::5]", ""),
        ("https://[::5]:444", "http://p:2"),
        ("https://d.test", "http://p:2"),
        ("https://d.test:8443", ""),
        ("https://192.0.2.1", ""),
        ("http://localhost:5000", ""),
        ("http://127.0.0.9", ""),
        ("http://[::1]:1", ""),
        ("ftp://registry.test", ""),
    ],
)
def test_a_proxy_leads_to_all_but_what_is_exempt_and_this_machine(address: str, proxy: str) -> None:
    assert PROXIES.to(address) == proxy


def test_the_environment_names_proxies_as_gos_programs_take_it() -> None:
    found = proxies_of({"https_proxy": "p.test:3128", "HTTP_PROXY": "http://u:w@q.test", "NO_PROXY": " a.test, ,*"})
    assert found == Proxies(http="http://u:w@q.test", https="http://p.test:3128", exempt=("a.test", "*"))
    assert found.to("https://registry.test") == ""
    assert "w@q" not in repr(found)
    assert merged((DIRECT, PROXIES, found)) == PROXIES
    for wrong in ("socks5://p.test", "http://", "http://p.test:0", "http://[p"):
        with pytest.raises(Fault, match="HTTPS_PROXY: it is no address of an HTTP proxy"):
            proxies_of({"HTTPS_PROXY": wrong})


@given(st.integers(1, 6), st.lists(st.floats(0.0, 1.0), max_size=60))
def test_all_addresses_together_are_tried_no_longer_than_a_person_waits(addresses: int, spent: list[float]) -> None:
    """Each try takes some part of the time for a connection, and is followed by a pause."""
    patience, now, most = RetryBudget(addresses, 100.0), 100.0, TRIED_SECONDS + addresses * LEAST_SECONDS
    for part in spent:
        now += part * patience.connecting(now)
        if not patience.is_over(now):
            now += patience.pause(2, 0.0, 1.0, now)
            continue
        addresses -= 1
        if not addresses:
            break
        patience.turn(now)
    assert now - 100.0 <= most + 1e-6


def test_what_a_registry_asks_us_to_wait_does_not_count() -> None:
    patience = RetryBudget(2, 0.0)
    assert patience.pause(1, 30.0, 1.0, 1.0) == 30.0
    assert not patience.is_over(31.0)
    assert patience.connecting(31.0) == pytest.approx(1.0)


def test_a_pull_that_was_slow_to_start_is_tried_for_less_but_not_for_nothing() -> None:
    assert RetryBudget(1, 101.5, 100.0).connecting(101.5) == pytest.approx(2.5)
    assert RetryBudget(2, 120.0, 100.0).connecting(120.0) == pytest.approx(1.0)
