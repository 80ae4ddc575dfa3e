"""What holds for all tests."""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import left_open, machine

machine.compile_once()

# Each account of moto's has 1,301 images otherwise, with a volume and a snapshot each: most of what its start takes.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent / "data" / "amis.json")

# kubectl, runc and registries end before they have much to collect, and a quarter of kubectl's time goes into looking.
os.environ.setdefault("GOGC", "off")
os.environ.setdefault("GOMEMLIMIT", "256MiB")

# Until all is imported: till then nothing is garbage, and a sixth of the time would go into looking for it.
gc.disable()

# A timing never decides a test: on a busy machine an example takes many times as long, and so does making one up.
settings.register_profile("chinampa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chinampa")


def pytest_configure(config: pytest.Config) -> None:
    """Each process that runs tests, a worker of xdist or pytest alone, is apart from all others of this machine.

    OCI_RUNTIME=crun has everything run with crun, also where the machine's control groups keep that from running.
    """
    config.pluginmanager.register(left_open)
    machine.leave_the_machines()
    if os.environ.get("OCI_RUNTIME") == "crun" and os.geteuid() == 0:
        machine.leave_version2()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for minutes begin first, in every other process one after the other: the others have work for all
    cores meanwhile, and at the end nobody waits for the last one.
    """
    waiting = [item for item in items if item.get_closest_marker("waits")]
    others = [item for item in items if not item.get_closest_marker("waits")]
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    dealt = [waiting[place :: (processes + 1) // 2] for place in range((processes + 1) // 2)]
    items.clear()
    # As xdist parts them: so many for each process in turn. What one has left it gives to others from its end.
    total, begun = len(waiting) + len(others), 0
    for place in range(processes):
        first = dealt[place // 2] if place % 2 == 0 else []
        size = (total - len(items)) // (processes - place)
        more = max(size - len(first), 0)
        items += [*first, *others[begun : begun + more]]
        begun += more
    items += others[begun:]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """What is imported by now stays until the end: no collection of garbage need look through it again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    return (yield)
