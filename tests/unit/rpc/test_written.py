"""A reply written out beforehand is the same on the wire, and no way round the reply's type."""

from __future__ import annotations

import pytest

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.rpc.written import Codec, Written


def test_a_written_reply_has_the_octets_of_the_message() -> None:
    reply = cri.ListContainersResponse(containers=[cri.Container(id="a", labels={"app": "web"})])
    octets = Codec().encode(Written.of(reply), cri.ListContainersResponse)
    assert cri.ListContainersResponse.FromString(octets) == reply
    assert Written.of(reply).message is reply


def test_a_written_reply_of_another_call_is_refused() -> None:
    with pytest.raises(TypeError, match="ListContainersResponse"):
        Codec().encode(Written.of(cri.ListContainersResponse()), cri.ListPodSandboxResponse)
