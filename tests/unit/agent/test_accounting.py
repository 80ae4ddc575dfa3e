"""What the kernel writes of groups, as numbers."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.kernel import accounting, cgroups
from cellagent.kernel.accounting import DeviceIo, HugePages, Pressure, io_of_v1, io_of_v2, pressure_of, shares_of

# Every file of the group of a container that crun 1.21 made on Linux 6.12 with 32 MiB, half a CPU, 512 shares and 77
# processes, of which one had met the memory limit and died; it had written 8 MiB.
RECORDED = Path(__file__).resolve().parents[2] / "data" / "cgroup-v2-container.json"


@pytest.fixture
def recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The path of that group, on a machine that has nothing but version 2."""
    folder = tmp_path / "chinampa" / "pod" / "c"
    folder.mkdir(parents=True)
    for name, text in json.loads(RECORDED.read_text()).items():
        (folder / name).write_text(text)
    monkeypatch.setattr(cgroups, "ROOT", tmp_path)
    monkeypatch.setattr(cgroups, "layout", lambda: cgroups.Layout.V2)
    return "/chinampa/pod/c"


def test_usage_is_read_from_the_files_of_version_two(recorded: str) -> None:
    assert cgroups.ControlGroup(recorded).usage() == cgroups.CgroupUsage(
        cpu_ns=1_797_443_000,
        memory_bytes=8_810_496,
        working_set_bytes=8_810_496,
        rss_bytes=53_248,
        page_faults=8_394,
        major_page_faults=0,
        pids=1,
        oom_kills=1,
        memory_limit=32 << 20,
    )


def test_figures_are_read_from_the_files_of_version_two(recorded: str) -> None:
    found = accounting.figures(recorded)
    assert (found.cpu_user_ns, found.cpu_system_ns) == (780_911_000, 1_016_531_000)
    assert (found.cpu_periods, found.throttled_periods, found.throttled_ns) == (42, 29, 1_064_479_000)
    assert (found.cpu_quota_us, found.cpu_period_us) == (50_000, 100_000)
    assert abs(found.cpu_shares - 512) < 30
    assert (found.cache_bytes, found.kernel_bytes, found.swap_bytes) == (8_400_896, 356_352, 0)
    assert (found.most_memory_bytes, found.memory_limit_hits, found.threads_max) == (32 << 20, 18, 77)
    assert (found.swap_limit, found.memory_reservation) == (0, 0)
    assert found.devices == (DeviceIo("254:0", 0, 8 << 20, 0, 16),)
    assert found.huge_pages == (HugePages("1GB", 0), HugePages("2MB", 0))
    assert [one.resource for one in found.pressures] == ["cpu", "memory", "io"]
    assert found.pressures[0] == Pressure("cpu", 1_925_710_000, 1_922_607_000)


def test_devices_of_both_versions_are_told_alike() -> None:
    v2 = "8:0 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n254:0\n"
    size = "8:0 Read 4096\n8:0 Write 512\n8:0 Sync 0\n8:0 Total 4608\nTotal 4608\n"
    count = "8:0 Read 2\n8:0 Write 1\n8:0 Total 3\nTotal 3\n"

    assert io_of_v2(v2) == io_of_v1(size, count) == (DeviceIo("8:0", 4096, 512, 2, 1),)


def test_pressure_is_in_nanoseconds_and_absent_where_it_is_not_counted() -> None:
    text = "some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=3\n"

    assert pressure_of("memory", text) == Pressure("memory", 12_000, 3_000)
    assert pressure_of("memory", "") is None


@given(st.integers(2, 262_144))
def test_cpu_shares_come_back_from_the_weight_that_a_runtime_makes_of_them(shares: int) -> None:
    weight = 1 + (shares - 2) * 9999 // 262142

    assert abs(shares_of(weight) - shares) <= 262142 // 9999 + 1


@given(st.text(alphabet="0123456789: RWeadrite=bytso\n", max_size=200))
def test_a_line_that_no_kernel_writes_is_passed_over(text: str) -> None:
    io_of_v1(text, text)
    pressure_of("io", text)
