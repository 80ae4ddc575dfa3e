"""Profiles in CRI's older words."""

from __future__ import annotations

import pytest

from cellwire.cri import profiles
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault

PROFILE = cri.SecurityProfile


def test_older_words_are_said_in_the_newer_fields() -> None:
    assert profiles.profile("seccomp", "runtime/default").profile_type == PROFILE.RuntimeDefault
    assert profiles.profile("seccomp", "unconfined").profile_type == PROFILE.Unconfined
    local = profiles.profile("seccomp", "localhost//etc/p.json")
    assert (local.profile_type, local.localhost_ref) == (PROFILE.Localhost, "/etc/p.json")
    for wrong in ("localhost/", "mine", "localhost"):
        with pytest.raises(Fault, match=f"AppArmor profile {wrong}"):
            profiles.profile("AppArmor", wrong)


def test_what_nobody_says_stays_unsaid_and_newer_words_count_alone() -> None:
    context = cri.LinuxContainerSecurityContext()
    profiles.settle(context)
    assert context == cri.LinuxContainerSecurityContext()
    context = cri.LinuxContainerSecurityContext(apparmor_profile="localhost/mine")
    context.apparmor.profile_type = PROFILE.Unconfined
    profiles.settle(context)
    assert context.apparmor.profile_type == PROFILE.Unconfined
