"""How commands ask a running controller."""

from __future__ import annotations

import contextlib
import itertools
import socket
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import unquote

import pytest
from click.testing import CliRunner

from cellwire.faults import Fault, Kind
from controller.cli import asking
from controller.cli.asking import WHOLE, ask, place
from controller.cli.token import command


def served(folder: Path, answer: bytes) -> tuple[Path, list[bytes], threading.Thread]:
    """A config file of a controller that answers one question so; what it was asked; the thread that does."""
    (folder / "c.toml").write_text(f'state = "{folder}"\n')
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(folder / "admin.sock"))
    listening.listen()
    asked: list[bytes] = []

    def one() -> None:
        with listening, listening.accept()[0] as connection:
            asked.append(connection.recv(1 << 16))
            connection.sendall(answer)

    thread = threading.Thread(target=one, daemon=True)
    thread.start()
    return folder / "c.toml", asked, thread


def test_a_name_with_any_letters_is_asked_for_by_that_name(tmp_path: Path) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 21\r\n\r\n"
    config, asked, thread = served(tmp_path, answer + b'{"error": "it is no"}')
    with pytest.raises(Fault, match="it is no") as raised:
        ask(config, place("tokens", "maíz y frijol"), "DELETE")
    thread.join()
    assert raised.value.kind is Kind.INVALID
    assert asked[0].startswith(b"DELETE /tokens/ma%C3%ADz%20y%20frijol HTTP/1.1\r\n")


@pytest.mark.parametrize("name", ["ci?x", "ci#x", "ci%3F", "../ci", "ci/x", "\udcff"])
def test_a_name_that_looks_like_a_part_of_an_address_is_no_other_name(tmp_path: Path, name: str) -> None:
    answer = b"HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\n\r\n"
    config, asked, thread = served(tmp_path, answer + b'{"error": "it is no"}')
    with pytest.raises(Fault, match="it is no"):
        CliRunner().invoke(command, ["revoke", "--config", str(config), name], catch_exceptions=False)
    thread.join()
    wanted = asked[0].split()[1].decode().removeprefix("/tokens/")
    assert unquote(wanted, errors="surrogateescape") == name
    assert not set(wanted) & set("/?#")


def test_a_socket_that_cannot_be_asked_is_told_of_with_its_cause(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'state = "{tmp_path / ("s" * 120)}"\n')
    with pytest.raises(Fault, match="path too long"):
        ask(tmp_path / "c.toml", "/cells")


def test_a_controller_that_hangs_up_is_told_of_in_a_sentence(tmp_path: Path) -> None:
    config, _, thread = served(tmp_path, b"")
    with pytest.raises(Fault, match="start it: chinampa controller") as raised:
        ask(config, "/cells")
    thread.join()
    assert raised.value.kind is Kind.UNAVAILABLE


def test_a_controller_that_answers_a_byte_now_and_then_is_given_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "c.toml").write_text(f'state = "{tmp_path}"\n')
    seconds = itertools.count(step=WHOLE / 10)
    monkeypatch.setattr(asking, "time", SimpleNamespace(monotonic=lambda: next(seconds)))
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "admin.sock"))
        listening.listen()

        def trickle() -> None:
            with listening.accept()[0] as connection, contextlib.suppress(OSError):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n\r\n")
                while True:
                    connection.sendall(b" ")

        thread = threading.Thread(target=trickle, daemon=True)
        thread.start()
        with pytest.raises(Fault, match="it does not answer"):
            ask(tmp_path / "c.toml", "/cells")
        thread.join()


def test_a_command_that_asks_loads_no_http_library_and_none_of_the_rooms() -> None:
    code = (
        "import sys; import controller.cli.token, controller.cli.cells_command, controller.cli.status_command;"
        "print([name for name in ('aiohttp', 'asyncio', 'grpclib', 'controller.api.server') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.stdout.strip() == b"[]"
