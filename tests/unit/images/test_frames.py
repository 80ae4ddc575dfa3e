"""Messages on pipes, in whatever pieces they come."""

from __future__ import annotations

from contextlib import suppress
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.images.messages import Unpacked
from cellagent.images.pipe_frames import MessageFrames, encoded

MESSAGES = st.lists(
    st.builds(
        Unpacked,
        size=st.integers(0, 1 << 60),
        unpacked=st.integers(0, 9),
        entries=st.just(1),
        taken=st.just(4096),
        implicit=st.lists(st.binary(max_size=300)),
    ),
    max_size=5,
)


@given(MESSAGES, st.lists(st.integers(0, 2000)))
def test_messages_come_back_whole_from_any_pieces(sent: list[Unpacked], cuts: list[int]) -> None:
    stream = b"".join(encoded(message) for message in sent)
    frames = MessageFrames(Unpacked)
    places = sorted({0, len(stream), *(cut for cut in cuts if cut < len(stream))})
    assert [message for at, end in pairwise(places) for message in frames.feed(stream[at:end])] == sent


@given(st.binary(max_size=200))
def test_rubbish_is_an_error_of_decoding_and_nothing_else(data: bytes) -> None:
    with suppress(msgspec.DecodeError):
        list(MessageFrames(Unpacked).feed(data))


def test_no_message_is_kept_beyond_the_bound() -> None:
    frames = MessageFrames(Unpacked, largest=1000)
    promised = b"\xc6\x7f\xff\xff\xff" + bytes(10_000)  # two GiB of bytes, of which some come
    with pytest.raises(msgspec.DecodeError):
        list(frames.feed(promised))
