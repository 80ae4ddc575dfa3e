"""The text that boots a cell."""

from __future__ import annotations

import gzip
import os
import subprocess
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellwire.faults import Fault, Kind
from controller.clouds.userdata import LIMIT_BYTES, UserData, compress, parse, render

CA = "sha256:" + "ab" * 32
FACTS = UserData(controllers=("10.201.0.1:7443", "controller.example:7443"), ca=CA, token="t-123")


def test_what_is_rendered_can_be_read_back_plain_and_compressed() -> None:
    text = render(FACTS)

    assert parse(text) == FACTS
    assert parse(text.encode()) == FACTS
    assert parse(compress(text)) == FACTS


def test_equal_facts_give_equal_bytes_so_that_launches_can_be_batched() -> None:
    assert compress(render(FACTS)) == compress(render(msgspec.structs.replace(FACTS)))


def test_the_keys_are_those_that_the_agent_knows() -> None:
    line = next(line for line in render(FACTS).splitlines() if line.startswith("#chinampa "))

    assert msgspec.json.decode(line.removeprefix("#chinampa ")) == {
        "version": 1,
        "controllers": ["10.201.0.1:7443", "controller.example:7443"],
        "ca": CA,
        "token": "t-123",
    }


@given(st.text(min_size=1), st.text(min_size=1))
def test_no_token_and_no_address_can_break_out_of_its_line(token: str, host: str) -> None:
    facts = UserData(controllers=(f"{host}:7443",), ca=CA, token=token)
    plain = all("!" <= sign <= "~" for sign in host + token)
    if not plain:
        with pytest.raises(Fault, match="ASCII"):
            render(facts)
        return

    text = render(facts)

    assert parse(text) == facts
    assert sum(line.startswith("#chinampa ") for line in text.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"controllers": ()}, "no controller"),
        ({"controllers": ("nowhere",)}, "not host:port"),
        ({"controllers": ("host:0",)}, "not host:port"),
        ({"ca": "sha256:abc"}, "64 hex digits"),
        ({"token": ""}, "no join token"),
        ({"version": 2}, "version 2"),
        ({"token": "x" * LIMIT_BYTES}, "bytes"),
    ],
)
def test_facts_that_no_agent_could_use_are_refused_by_name(changes: dict[str, object], cause: str) -> None:
    with pytest.raises(Fault, match=cause) as raised:
        render(msgspec.structs.replace(FACTS, **changes))

    assert raised.value.kind is Kind.INVALID


@pytest.mark.parametrize(
    "text",
    [
        "",
        "#!/bin/sh\n",
        "#chinampa {",
        '#chinampa {"version":1}',
        b"\xff\xfe",
        b"\x1f\x8bnonsense",
        gzip.compress(b"x", mtime=0)[:-4],
    ],
)
def test_other_text_is_refused(text: str | bytes) -> None:
    with pytest.raises(Fault) as raised:
        parse(text)

    assert raised.value.kind is Kind.INVALID


def test_a_bomb_is_not_unpacked() -> None:
    with pytest.raises(Fault, match="more than 1 MiB"):
        parse(gzip.compress(b"\0" * (2 << 20)))


def test_without_systemd_the_script_starts_the_agent_again_when_it_ends(tmp_path: Path) -> None:
    if Path("/run/systemd/system").is_dir():
        pytest.skip("this machine runs systemd, where the script hands the agent over to it")
    agent = tmp_path / "cellagent"
    agent.write_text(
        '#!/bin/sh\necho "$1 $CHINAMPA_USER_DATA_AT" >>"$0.log"\n[ $(wc -l <"$0.log") -lt 2 ] || kill $PPID\n'
    )
    agent.chmod(0o755)
    script = tmp_path / "user-data"
    script.write_text(render(FACTS))

    subprocess.run(
        ["sh", script],
        check=False,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        timeout=10,
        stderr=subprocess.DEVNULL,
    )

    first, second = (tmp_path / "cellagent.log").read_text().splitlines()
    assert first == second
    word, moment = first.split()
    assert word == "run"
    assert float(moment) > 1.7e9
