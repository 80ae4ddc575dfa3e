"""What holds for all tests."""

import gc
import os
from collections.abc import Generator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.support import machine

machine.compile_once()

# Each account of moto's has 1,301 images otherwise, with a volume and a snapshot each: most of what its start takes.
os.environ["MOTO_AMIS_PATH"] = str(Path(__file__).parent / "data" / "amis.json")

# Until all is imported: till then nothing is garbage, and a sixth of the time would go into looking for it.
gc.disable()

# A timing never decides a test: on a busy machine an example takes many times as long, and so does making one up.
settings.register_profile("chinampa", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("chinampa")


def pytest_configure() -> None:
    """Each process that runs tests, a worker of xdist or pytest alone, is apart from all others of this machine.

    OCI_RUNTIME=crun has everything run with crun, also where the machine's control groups keep that from running.
    """
    machine.leave_the_machines()
    if os.environ.get("OCI_RUNTIME") == "crun" and os.geteuid() == 0:
        machine.leave_version2()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that wait for full minutes begin with the first ones, one after the other in one process: at the end all
    others would wait for them.
    """
    waiting = [item for item in items if item.get_closest_marker("minutes")]
    others = [item for item in items if not item.get_closest_marker("minutes")]
    # xdist gives each process as long a part, and what one has left to others from its end.
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    last = len(others) - len(others) // processes
    items[:] = [*others[:last], *waiting, *others[last:]] if processes > 1 else [*waiting, *others]


@pytest.hookimpl(wrapper=True)
def pytest_runtestloop() -> Generator[None, object, object]:
    """What is imported by now stays until the end: no collection of garbage need look through it again."""
    gc.collect()
    gc.freeze()
    gc.enable()
    return (yield)
