"""Whether a container's first process can hear its stop signal."""

from __future__ import annotations

import signal

from cellagent.runtime.exits import signal_heard

FIRST = "Name:\tsh\nNSpid:\t4711\t1\nSigIgn:\t{ignored:016x}\nSigCgt:\t{caught:016x}\n"
TERM = 1 << (signal.SIGTERM - 1)


def test_the_first_process_hears_only_what_it_has_a_handler_for_or_ignores() -> None:
    assert not signal_heard(FIRST.format(ignored=0, caught=0), signal.SIGTERM)
    assert not signal_heard(FIRST.format(ignored=0, caught=TERM << 1), signal.SIGTERM)
    assert signal_heard(FIRST.format(ignored=0, caught=TERM), signal.SIGTERM)
    assert signal_heard(FIRST.format(ignored=TERM, caught=0), signal.SIGTERM)


def test_any_other_process_hears_everything_and_so_does_one_that_is_gone() -> None:
    assert signal_heard(FIRST.replace("\t1\n", "\t17\n").format(ignored=0, caught=0), signal.SIGTERM)
    assert signal_heard(FIRST.replace("4711\t1", "4711").format(ignored=0, caught=0), signal.SIGTERM)
    assert signal_heard("", signal.SIGTERM)


def test_runcs_own_first_process_hears_nothing_yet_though_it_catches_all() -> None:
    status = "Name:\trunc:[2:INIT]\nNSpid:\t99\t1\nSigIgn:\t0000000000000000\nSigCgt:\tffffffffffffffff\n"
    assert not signal_heard(status, 15)
    assert signal_heard(status.replace("runc:[2:INIT]", "sh"), 15)
