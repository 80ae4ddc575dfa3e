"""The instance types of the local cloud, and which of them this machine can offer. Pure."""

from __future__ import annotations

from controller.model.offer import LaunchType, Offer, Shape

# name, thousandths of a CPU, MiB, USD per hour. The prices are made up: half by CPU, half by memory, as on EC2.
_TYPES = (
    ("local.nano", 250, 256, 0.004),
    ("local.micro", 500, 512, 0.008),
    ("local.small", 1000, 1024, 0.016),
    ("local.compute", 2000, 1024, 0.028),
    ("local.medium", 1000, 2048, 0.022),
    ("local.large", 2000, 4096, 0.044),
    ("local.memory", 1000, 8192, 0.058),
    ("local.xlarge", 4000, 8192, 0.088),
)
_SPOT_SHARE = 0.3
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


def architecture(machine: str) -> str:
    """The image index's word for what `uname -m` says."""
    return _ARCHITECTURES.get(machine, machine)


def shapes(machine: str) -> dict[str, Shape]:
    """All types by name, for a machine of this kind (`uname -m`)."""
    return {
        name: Shape(
            type=name,
            architecture=architecture(machine),
            cpu_millis=cpu,
            memory_mib=memory,
            baseline_millis=cpu,
            network_mbps=1000,
        )
        for name, cpu, memory, _price in _TYPES
    }


def offers(machine: str, zone: str, cpus: int, memory_mib: int) -> tuple[Offer, ...]:
    """What a machine of `cpus` and `memory_mib` can sell: no type larger than itself."""
    known = shapes(machine)
    return tuple(
        Offer(shape=known[name], zone=zone, launch_type=launch_type, usd_per_hour=round(price * share, 6))
        for name, cpu, memory, price in _TYPES
        if cpu <= cpus * 1000 and memory <= memory_mib
        for launch_type, share in ((LaunchType.ON_DEMAND, 1.0), (LaunchType.SPOT, _SPOT_SHARE))
    )
