"""conmon's command line, and the words of the OCI runtime."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cellagent.runtime.conmon import ConmonCharge, command_line, plain_words

CHARGE = ConmonCharge("id", "main", Path("/r/runc"), Path("/oci"), Path("/b"), Path("/exits"), "/logs/0.log")


def test_the_log_is_written_in_the_format_of_cri() -> None:
    argv = command_line(CHARGE)
    assert argv[argv.index("--log-path") + 1] == "k8s-file:/logs/0.log"
    assert "--stdin" not in argv
    assert "--terminal" not in argv


def test_stdin_stays_open_unless_it_is_for_one_client() -> None:
    held = ConmonCharge("id", "main", Path("/r"), Path("/o"), Path("/b"), Path("/e"), "", stdin=True)
    once = ConmonCharge("id", "main", Path("/r"), Path("/o"), Path("/b"), Path("/e"), "", stdin=True, stdin_once=True)
    assert "--leave-stdin-open" in command_line(held)
    assert "--leave-stdin-open" not in command_line(once)
    assert "--leave-stdin-open" in command_line(dataclasses.replace(once, terminal=True))


def test_the_runtimes_sentence_is_taken_out_of_its_log_line() -> None:
    line = 'time="2026-01-01T00:00:00Z" level=error msg="runc create failed: exec: \\"x\\": not found"\n'
    assert plain_words(line) == 'runc create failed: exec: "x": not found'
    warned = 'time="now" level=warning msg="lchown"\n' + line
    assert plain_words(warned) == 'runc create failed: exec: "x": not found'
    assert plain_words("plain words") == "plain words"
