"""What the kernel writes of groups, as numbers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from cellagent.kernel.accounting import DeviceIo, Pressure, io_of_v1, io_of_v2, pressure_of, shares_of


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
