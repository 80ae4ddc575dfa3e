from __future__ import annotations

import contextlib
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cellagent.images import extract, tarstream
from cellagent.images.tarstream import ByteSource, TarEntry, TarReader, number, parse_pax
from cellwire.faults import Fault
from tests.support.oci import LayerEntry, tar


def read(content: bytes, chunk: int = 1000) -> list[tuple[TarEntry, bytes]]:
    pieces = iter([content[at : at + chunk] for at in range(0, len(content), chunk)])
    reader = TarReader(ByteSource(lambda: next(pieces, b"")))
    return [(entry, b"".join(reader.content())) for entry in reader]


@pytest.mark.parametrize("form", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
@pytest.mark.parametrize("chunk", [1, 511, 512, 513, 100_000])
def test_what_the_standard_library_writes_is_read(form: int, chunk: int) -> None:
    out = io.BytesIO()
    long = "d/" * 60 + "name"
    with tarfile.open(fileobj=out, mode="w", format=form) as archive:
        for name, content in (("a", b"hello"), (long, b"x" * 1000), ("empty", b"")):
            info = tarfile.TarInfo(name)
            info.size, info.uid, info.mtime, info.mode = len(content), 1000, 1_600_000_000, 0o640
            archive.addfile(info, io.BytesIO(content))
        link = tarfile.TarInfo("l")
        link.type, link.linkname = tarfile.SYMTYPE, ("t" * 150 if form != tarfile.USTAR_FORMAT else "t")
        archive.addfile(link)
    found = read(out.getvalue(), chunk)
    assert [(e.name.decode(), c) for e, c in found[:3]] == [("a", b"hello"), (long, b"x" * 1000), ("empty", b"")]
    assert found[0][0].uid == 1000
    assert found[0][0].mtime == 1_600_000_000 * 10**9
    assert found[3][0].link.startswith(b"t")
    assert len(found[3][0].link) == (150 if form != tarfile.USTAR_FORMAT else 1)


def test_pax_attributes_big_numbers_and_fractions_are_read() -> None:
    content = tar({"ä/ö": LayerEntry(content=b"1", uid=3_000_000_000, mtime=1.5, xattrs={"user.k": "v"})})
    entry = read(content)[0][0]
    assert entry.name.decode() == "ä/ö"
    assert entry.uid == 3_000_000_000
    assert entry.mtime == 1_500_000_000
    assert entry.xattrs == {"user.k": b"v"}


@pytest.mark.parametrize("cut", [1, 511, 1024, 1024 + 500])
def test_missing_padding_and_end_marker_are_accepted(cut: int) -> None:
    content = tar({"a": b"hello"})[: 512 + 512 + 1024][:-(cut)]
    assert read(content)[0][1] == b"hello"


def test_an_archive_that_ends_inside_a_file_or_header_is_refused() -> None:
    content = tar({"a": b"hello"})
    for end in (512 + 3, 100):
        with pytest.raises(Fault, match="ends in the middle"):
            read(content[:end])


@pytest.mark.parametrize(
    ("field", "value"),
    [(b"0000644\0", 0o644), (b" 644 \0\0\0", 0o644), (b"\0" * 8, 0), (b"\x80\0\0\0\0\0\1\0", 256)],
)
def test_numbers_of_headers_are_octal_or_base_256(field: bytes, value: int) -> None:
    assert number(field) == value


@pytest.mark.parametrize("field", [b"8", b"-1", b"0x1", b"1_0", b"\xff" * 8, b"\xbf" * 12, "٣".encode()])
def test_numbers_that_are_none_are_refused(field: bytes) -> None:
    with pytest.raises(Fault):
        number(field)


@pytest.mark.parametrize(
    "body", [b"x", b"5", b"99 a=b\n", b"6 a=b\n\0", b"0 a=b\n", b"5 a=b\n", b"6 =bc\n", b"+6 a=b\n"]
)
def test_malformed_pax_records_are_refused(body: bytes) -> None:
    if body == b"6 a=b\n\0":
        assert parse_pax(body) == {b"a": b"b"}
        return
    with pytest.raises(Fault):
        parse_pax(body)


def test_huge_extension_headers_are_refused() -> None:
    info = tarfile.TarInfo("x")
    info.type, info.size = b"x", 2 << 20
    with pytest.raises(Fault, match="claims"):
        read(info.tobuf() + bytes(2 << 20))


def old_sparse(*pieces: tuple[int, int], size: int, stored: int) -> bytes:
    """A header of GNU tar's old kind, with up to four pieces."""
    info = tarfile.TarInfo("x")
    info.type, info.size = tarfile.GNUTYPE_SPARSE, stored
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    for at, (offset, length) in enumerate(pieces):
        block[386 + 24 * at : 410 + 24 * at] = f"{offset:011o}\0{length:011o}\0".encode()
    block[483:495] = f"{size:011o}\0".encode()
    block[148:156] = b" " * 8
    block[148:156] = f"{sum(block):06o}\0 ".encode()
    return bytes(block)


def pax_sparse(stored: bytes, **records: str) -> bytes:
    """A file with records of a sparse one."""
    info = tarfile.TarInfo("GNUSparseFile.1/x")
    info.size = len(stored)
    info.pax_headers = {f"GNU.sparse.{key}": text for key, text in records.items()}
    return info.tobuf(tarfile.PAX_FORMAT) + stored + bytes(-len(stored) % 512)


def lines(*numbers: int) -> bytes:
    text = "".join(f"{number}\n" for number in numbers).encode()
    return text + bytes(-len(text) % 512)


def test_sparse_files_of_all_forms_are_read() -> None:
    old = read(old_sparse((0, 3), (10, 2), size=20, stored=5) + b"abcde" + bytes(507))
    first = read(pax_sparse(b"abcde", size="20", numblocks="2", map="0,3,10,2", name="x"))
    last = read(pax_sparse(lines(3, 0, 3, 10, 2, 20, 0) + b"abcde", major="1", minor="0", realsize="20", name="x"))
    many = [(number * 3, 1) for number in range(300)]
    long = lines(300, *(number for piece in many for number in piece)) + b"z" * 300
    longer = read(pax_sparse(long, major="1", minor="0", realsize="900", name="x"))
    for (entry, content), size, pieces, stored in (
        (old[0], 20, ((0, 3), (10, 2)), b"abcde"),
        (first[0], 20, ((0, 3), (10, 2)), b"abcde"),
        (last[0], 20, ((0, 3), (10, 2)), b"abcde"),
        (longer[0], 900, tuple(many), b"z" * 300),
    ):
        assert (entry.name, entry.whole, entry.pieces, content) == (b"x", size, pieces, stored)


@pytest.mark.parametrize(
    "archive",
    [
        old_sparse((0, 3), (2, 2), size=20, stored=5) + bytes(512),
        old_sparse((0, 30), size=20, stored=30) + bytes(512),
        old_sparse((0, 3), size=20, stored=5) + bytes(512),
        pax_sparse(b"abc", size="20", map="0,3,1"),
        pax_sparse(b"abc", size="20", map="0,-3"),
        pax_sparse(b"abc", map="0,3"),
        pax_sparse(b"abc", major="2", minor="0", realsize="3"),
        pax_sparse(b"abc", major="1", minor="0", realsize="3"),
        pax_sparse(b"9" * 1024, major="1", minor="0", realsize="3"),
        pax_sparse(lines(1 << 40), major="1", minor="0", realsize="3"),
        pax_sparse(lines(1, 0, 3) + b"abcd", major="1", minor="0", realsize="3"),
        pax_sparse(b"", size=str(1 << 60)),
    ],
)
def test_sparse_files_whose_map_does_not_fit_are_refused(archive: bytes) -> None:
    with pytest.raises(Fault):
        read(archive)


@pytest.mark.parametrize(("kind", "most"), [(b"x", tarstream.PAX_LIMIT), (b"g", tarstream.GLOBAL_LIMIT)])
def test_many_extension_headers_may_hold_no_more_than_one(kind: bytes, most: int) -> None:
    given = b""
    for at in range(0, most + 1, 1 << 12):
        info = tarfile.TarInfo("x")
        info.type, info.size = kind, 1 << 12
        given += info.tobuf() + b"4096 k%07d=" % at + b"v" * (4096 - 15) + b"\n"
    with pytest.raises(Fault, match="claims 4096 bytes where at most 0"):
        read(given + tar({"a": b"hello"}))


@given(st.binary(max_size=3000), st.integers(1, 2000))
def test_any_bytes_are_read_or_end_in_a_fault(content: bytes, chunk: int) -> None:
    with contextlib.suppress(Fault):
        read(content, chunk)


@given(st.data())
def test_a_damaged_archive_is_read_or_ends_in_a_fault(data: st.DataObject) -> None:
    content = bytearray(tar({"a": b"hello", "ü" * 90: b"x" * 600, "l": LayerEntry(tarfile.SYMTYPE, link="y")}))
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    # Damage alone is mostly caught by the checksum; mend that so that the rest of the reader is reached.
    for at in range(0, len(content) - 511, 512):
        if bytes(content[at + 257 : at + 262]) == b"ustar":
            total = sum(content[at : at + 148]) + sum(content[at + 156 : at + 512]) + 256
            content[at + 148 : at + 156] = b"%06o\0 " % total
    with contextlib.suppress(Fault):
        read(bytes(content))


@pytest.mark.parametrize(
    ("raw", "safe"),
    [(b"a", b"a"), (b"./a/", b"a"), (b"/etc/x", b"etc/x"), (b"a//b/./c", b"a/b/c"), (b"/", b"."), (b"./", b"."),
     (b"a..b", b"a..b"), (b"...", b"..."), (b"a/.", b"a"), (b"", b"."), (b"a/../b", b"b"), (b"a/..", b".")],
)  # fmt: skip
def test_names_are_taken_relative_to_the_layer(raw: bytes, safe: bytes) -> None:
    assert extract.safe_name(raw) == safe


def test_a_checksum_of_bytes_taken_for_signed_numbers_is_as_good() -> None:
    header = bytearray(tarfile.TarInfo("a").tobuf(tarfile.USTAR_FORMAT))
    header[0:2] = b"\xc3\xa9"
    header[148:156] = b" " * 8
    for summed in (sum(header), sum(byte - 256 if byte > 127 else byte for byte in header)):
        said = bytes(header[:148]) + b"%06o\0 " % summed + bytes(header[156:])
        assert tarstream.parse_header(said).name == b"\xc3\xa9"
    with pytest.raises(Fault, match="checksum"):
        tarstream.parse_header(bytes(header[:148]) + b"%06o\0 " % 1 + bytes(header[156:]))


@pytest.mark.parametrize("raw", [b"..", b"../x", b"a/../../x", b"/..", b"./..", b"a/../.."])
def test_names_that_climb_are_refused(raw: bytes) -> None:
    with pytest.raises(Fault, match="leads out"):
        extract.safe_name(raw)


@given(st.lists(st.sampled_from([b"a", b"..", b".", b"", b".wh."]), max_size=6).map(b"/".join))
def test_a_safe_name_never_climbs_and_is_never_absolute(raw: bytes) -> None:
    try:
        name = extract.safe_name(raw)
    except Fault:
        return
    assert b".." not in name.split(b"/")
    assert not name.startswith(b"/")
    assert name


def test_private_attributes_of_overlayfs_are_dropped() -> None:
    kept = ["user.k", "security.capability"]
    dropped = ["trusted.overlay.redirect", "user.overlay.opaque", "trusted.x", "security.selinux"]
    found = extract.allowed_xattrs((name, b"1") for name in (*kept, *dropped))
    assert [name for name, _ in found] == kept
    assert tarstream.ENTRIES_LIMIT > 1_000_000
