"""What of an instance's console goes into an event: a line that a person can read, whatever the instance wrote."""

from __future__ import annotations

import base64

from hypothesis import given
from hypothesis import strategies as st

from controller.clouds.ec2.instances.console import MOST_LINES, MOST_SIGNS, readable


def of(text: str) -> str:
    return readable(base64.b64encode(text.encode()).decode())


def test_the_last_lines_are_told_without_colours_and_empty_lines() -> None:
    assert of("a\nb\nc\nd\n\n\x1b[0;31mchinampa: no agent\x1b[0m\r\n") == "b | c | d | chinampa: no agent"


def test_an_instance_that_has_said_nothing_yet_is_told_of_by_nothing() -> None:
    assert readable("") == ""


@given(st.text())
def test_nothing_that_an_instance_writes_is_long_or_breaks_out_of_its_line(text: str) -> None:
    said = of(text)
    assert len(said) <= MOST_SIGNS
    assert said.isprintable()
    assert said.count(" | ") < MOST_LINES + text.count(" | ")


@given(st.text())
def test_what_is_not_base64_is_read_as_it_is(text: str) -> None:
    assert readable(text).isprintable()
