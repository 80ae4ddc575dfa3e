"""The process of a container: what runs, as whom and with which variables. Pure."""

from __future__ import annotations

from typing import Any

from cellagent.images.image_source import ImageConfig
from cellagent.runtime.spec.users import User
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind

# OCI runtimes set each after a look at all before it: 20,000 take a second of CPU, 100,000 twenty.
MOST_VARIABLES = 20_000
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def process(
    config: cri.ContainerConfig, image: ImageConfig, user: User, *, hostname: str, lowest_oom_score: int
) -> dict[str, Any]:
    """The process, but for what concerns capabilities and AppArmor. Raises Fault."""
    context = config.linux.security_context
    folder = config.working_dir or image.working_dir or "/"
    return {
        "terminal": config.tty,
        "user": {"uid": user.uid, "gid": user.gid, "additionalGids": groups(context, user)},
        "args": arguments(config, image),
        "env": environment(config, image, user, hostname),
        "cwd": folder if folder.startswith("/") else f"/{folder}",
        "noNewPrivileges": context.no_new_privs,
        "oomScoreAdj": max(config.linux.resources.oom_score_adj, lowest_oom_score),
    }


def arguments(config: cri.ContainerConfig, image: ImageConfig) -> list[str]:
    """What is run: command replaces the entrypoint and drops the image's cmd; args replace cmd. Raises Fault."""
    if config.command:
        found = [*config.command, *config.args]
    else:
        found = [*image.entrypoint, *(config.args or image.cmd)]
    if not found:
        name = config.metadata.name
        raise Fault(Kind.INVALID, f"container {name}", "neither it nor its image says what to run", "give a command")
    return found


def environment(config: cri.ContainerConfig, image: ImageConfig, user: User, hostname: str) -> list[str]:
    """What every program expects, the image's variables over it, the container's over both. Raises Fault."""
    found = {"PATH": DEFAULT_PATH, "HOSTNAME": hostname}
    if config.tty:
        found["TERM"] = "xterm"
    for variable in image.env:
        key, says, text = variable.partition("=")
        if not key:
            continue  # runc of late refuses what has no name, crun does not
        if says:
            found[key] = text
        else:
            found.pop(key, None)  # as containerd takes it: what has no value is not to be set
    for pair in config.envs:
        try:
            found[pair.key] = pair.value.decode()
        except UnicodeDecodeError as error:
            name = f"container {config.metadata.name}, variable {pair.key}"
            raise Fault(Kind.INVALID, name, "its value is not UTF-8, which the OCI runtime's file must be") from error
    found.setdefault("HOME", user.home or "/")
    if len(found) > MOST_VARIABLES:
        cause = f"it and its image set {len(found)} variables, more than {MOST_VARIABLES}"
        mend = "give them in a file, or set enableServiceLinks to false where they are those of Services"
        raise Fault(Kind.INVALID, f"container {config.metadata.name}", cause, mend)
    return [f"{key}={text}" for key, text in found.items()]


def groups(context: cri.LinuxContainerSecurityContext, user: User) -> list[int]:
    """All groups: the first one, those asked for (fsGroup among them), and with policy Merge those of the image."""
    found = {user.gid, *context.supplemental_groups}
    if context.supplemental_groups_policy == cri.Merge:
        found.update(user.groups)
    return sorted(found)
