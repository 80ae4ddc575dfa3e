"""What a security context asks for and what must then be so in the container: one table, for tests at either end.

Each script says in a word or two what it found. The image must be the busybox of the runtime's tests, with the users
"root" and "weaver" (1001, of 1002 and 1003).
"""

from __future__ import annotations

from dataclasses import dataclass, field

from cellagent.runtime.spec import capabilities
from cellwire.cri.v1 import runtime_pb2 as cri

Context = cri.LinuxContainerSecurityContext
NUMBER = cri.Int64Value
PROFILE = cri.SecurityProfile
HELD = "busybox grep Cap{} /proc/self/status | busybox awk '{{print $2}}'"
STATUS = "busybox grep {}: /proc/self/status | busybox awk '{{print $2}}'"
MOUNT = "mkdir -p /m && mount -t tmpfs none /m 2>/dev/null && echo mounted || echo refused"
GROUPS = "for each in $(id -G); do echo $each; done | busybox sort -n | busybox tr '\\n' ' '; echo"


@dataclass(frozen=True)
class SecurityCase:
    """A context, what to run in it, and the line that this must say. `status` are user, group and groups as told."""

    name: str
    context: Context
    script: str
    said: str
    devices: tuple[cri.Device, ...] = ()
    groups: tuple[int, ...] = field(default=())


def mask(names: tuple[str, ...] | frozenset[str]) -> str:
    """Capabilities as the kernel shows them, of those that this machine can give."""
    given = capabilities.own().intersection(names)
    return f"{sum(1 << place for place, name in enumerate(capabilities.ALL) if name in given):016x}"


def caps(add: str = "", drop: str = "", ambient: str = "", **more: object) -> Context:
    """A context that changes capabilities."""
    asked = cri.Capability(
        add_capabilities=add.split(), drop_capabilities=drop.split(), add_ambient_capabilities=ambient.split()
    )
    return Context(capabilities=asked, **more)  # pyright: ignore[reportArgumentType]


USUAL = frozenset(capabilities.DEFAULT)
DEFAULT = PROFILE(profile_type=PROFILE.RuntimeDefault)
UNCONFINED = PROFILE(profile_type=PROFILE.Unconfined)
WEAVER = NUMBER(value=1001)
MERGE, STRICT = cri.Merge, cri.Strict
# Not among the devices that every container may open. Whoever may not is refused when opening.
FUSE = (cri.Device(host_path="/dev/fuse", container_path="/dev/mine", permissions="r"),)
READ, WRITE = (f"( : {way} {{}} ) 2>/dev/null && echo opened || echo refused" for way in "<>")

ROWS = (
    SecurityCase("a plain container has the usual capabilities", Context(), HELD.format("Eff"), mask(USUAL)),
    SecurityCase("one is added", caps(add="NET_ADMIN"), HELD.format("Eff"), mask(USUAL | {"NET_ADMIN"})),
    SecurityCase("one is dropped", caps(drop="CHOWN"), HELD.format("Bnd"), mask(USUAL - {"CHOWN"})),
    SecurityCase("all are dropped", caps(drop="ALL"), HELD.format("Bnd"), mask(())),
    SecurityCase("all but one are dropped", caps(add="KILL", drop="ALL"), HELD.format("Eff"), mask(("KILL",))),
    SecurityCase("all are added", caps(add="ALL"), HELD.format("Eff"), mask(capabilities.ALL)),
    SecurityCase("a user that is not root has none", caps(run_as_user=WEAVER), HELD.format("Eff"), mask(())),
    SecurityCase(
        "an ambient one reaches a user that is not root",
        caps(ambient="NET_BIND_SERVICE", run_as_user=WEAVER),
        f"{HELD.format('Amb')}; {HELD.format('Eff')}",
        " ".join([mask(("NET_BIND_SERVICE",))] * 2),
    ),
    SecurityCase("a privileged one holds all", Context(privileged=True), HELD.format("Eff"), mask(capabilities.ALL)),
    SecurityCase("a privileged one mounts", Context(privileged=True), MOUNT, "mounted"),
    SecurityCase("a plain one does not mount", Context(), MOUNT, "refused"),
    SecurityCase("the root is written to", Context(), "touch /x && echo written", "written"),
    SecurityCase(
        "a read-only root is not, what is mounted on it is",
        Context(readonly_rootfs=True),
        "touch /x 2>/dev/null || echo refused; touch /dev/shm/x && echo written",
        "refused written",
    ),
    SecurityCase(
        "a user brings the groups of the image", Context(run_as_user=WEAVER), f"id -u; {GROUPS}", "1001 1002 1003"
    ),
    SecurityCase(
        "a user may have another group",
        Context(run_as_user=WEAVER, run_as_group=NUMBER(value=5005)),
        f"id -u; id -g; {GROUPS}",
        "1001 5005 1003 5005",
    ),
    SecurityCase("a name is a user", Context(run_as_username="weaver"), "id -u; id -g", "1001 1002"),
    SecurityCase(
        "a number that nobody has is a user", Context(run_as_user=NUMBER(value=4004)), "id -u; id -g", "4004 0"
    ),
    SecurityCase(
        "groups are merged with those of the image",
        Context(run_as_user=WEAVER, supplemental_groups=[8, 7], supplemental_groups_policy=MERGE),
        GROUPS,
        "7 8 1002 1003",
        groups=(7, 8, 1002, 1003),
    ),
    SecurityCase(
        "strict groups are those that are asked for",
        Context(run_as_user=WEAVER, supplemental_groups=[8, 7], supplemental_groups_policy=STRICT),
        GROUPS,
        "7 8 1002",
        groups=(7, 8, 1002),
    ),
    SecurityCase("new privileges may be had", Context(), STATUS.format("NoNewPrivs"), "0"),
    SecurityCase("no new privileges", Context(no_new_privs=True), STATUS.format("NoNewPrivs"), "1"),
    SecurityCase("the usual filter of calls", Context(seccomp=DEFAULT), STATUS.format("Seccomp"), "2"),
    SecurityCase(
        "the usual filter keeps from new namespaces",
        Context(seccomp=DEFAULT),
        "busybox unshare -U true 2>/dev/null && echo made || echo refused",
        "refused",
    ),
    SecurityCase(
        "the usual filter in older words",
        Context(seccomp_profile_path="runtime/default"),
        STATUS.format("Seccomp"),
        "2",
    ),
    SecurityCase(
        "of older and newer words the newer count",
        Context(seccomp=UNCONFINED, seccomp_profile_path="runtime/default"),
        STATUS.format("Seccomp"),
        "0",
    ),
    SecurityCase("no filter of calls", Context(seccomp=UNCONFINED), STATUS.format("Seccomp"), "0"),
    SecurityCase(
        "a privileged one has no filter", Context(seccomp=DEFAULT, privileged=True), STATUS.format("Seccomp"), "0"
    ),
    SecurityCase("usually what tells of the machine is masked", Context(), "head -c 1 /proc/interrupts | wc -c", "0"),
    SecurityCase(
        "files and folders are masked where asked",
        Context(masked_paths=["/etc/passwd", "/root"], readonly_paths=["/proc/sys"]),
        "wc -c < /etc/passwd; ls -A /root | wc -l; touch /root/x 2>/dev/null || echo refused",
        "0 0 refused",
    ),
    SecurityCase(
        "usually kernel settings are read-only",
        Context(privileged=False),
        "touch /proc/sys/kernel/domainname 2>/dev/null && echo written || echo refused",
        "refused",
    ),
    SecurityCase(
        "folders are read-only where asked",
        Context(masked_paths=["/proc/kcore"], readonly_paths=["/root"]),
        "touch /root/x 2>/dev/null || echo refused; touch /tmp/x && echo written",
        "refused written",
    ),
    SecurityCase(
        "a device that may be read is opened to read", Context(), READ.format("/dev/mine"), "opened", devices=FUSE
    ),
    SecurityCase("and not to write", Context(), WRITE.format("/dev/mine"), "refused", devices=FUSE),
    SecurityCase(
        "a device that is not given is not opened",
        Context(),
        f"busybox mknod /mine c 10 229; {READ.format('/mine')}",
        "refused",
    ),
)
