"""CRI's older words for the profiles of a container, as the newer fields say them. Pure.

Older clients name AppArmor and seccomp profiles by a string: "runtime/default", "unconfined", or "localhost/" and a
name. A newer field, where it is given, counts alone.
"""

# The deprecated fields are what this file is for.
# pyright: reportDeprecated=false
from __future__ import annotations

from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

LOCAL = "localhost/"
USUAL = frozenset(("runtime/default", "docker/default"))


def settle(context: cri.LinuxContainerSecurityContext) -> None:
    """Say in the newer fields what only the older ones say. Raises Fault for words that are no profile."""
    if context.apparmor_profile and not context.HasField("apparmor"):
        context.apparmor.CopyFrom(profile("AppArmor", context.apparmor_profile))
    if context.seccomp_profile_path and not context.HasField("seccomp"):
        context.seccomp.CopyFrom(profile("seccomp", context.seccomp_profile_path))


def profile(what: str, words: str) -> cri.SecurityProfile:
    """One profile of the older form. Raises Fault INVALID."""
    if words in USUAL:
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.RuntimeDefault)
    if words == "unconfined":
        return cri.SecurityProfile(profile_type=cri.SecurityProfile.Unconfined)
    name = words.removeprefix(LOCAL)
    if not words.startswith(LOCAL) or not name:
        raise Fault(Kind.INVALID, f"{what} profile {words}", "it is none", f"write {LOCAL} and its name")
    return cri.SecurityProfile(profile_type=cri.SecurityProfile.Localhost, localhost_ref=name)
