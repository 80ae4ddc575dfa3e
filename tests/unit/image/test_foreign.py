"""A tree of another architecture is unpacked, and gets from one that is configured what no package has."""

from __future__ import annotations

from pathlib import Path

from images import foreign


def laid(root: Path, files: dict[str, str]) -> Path:
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_what_scripts_have_written_is_taken_and_what_is_of_an_architecture_is_not(tmp_path: Path) -> None:
    native = laid(
        tmp_path / "native",
        {
            "var/lib/dpkg/info/base.list": "/.\n/etc\n/etc/base.conf\n/bin/shell\n/usr\n/usr/bin\n",
            "etc/base.conf": "as the package has it",
            "etc/passwd": "root",
            "etc/ssl/certs/all.crt": "certificates",
            "etc/ld.so.cache": "amd64",
            "usr/bin/shell": "amd64",
            "usr/lib/modules/6-amd64/modules.dep": "amd64",
        },
    )
    (native / "usr/bin/awk").symlink_to("mawk")
    (native / "etc/base.conf").chmod(0o600)
    (native / "etc/ssl/certs").chmod(0o711)
    tree = laid(tmp_path / "tree", {"etc/base.conf": "of arm64's package", "usr/bin/shell": "arm64"})

    assert set(foreign.written_by_scripts(native)) == {
        *("etc/passwd", "etc/ssl", "etc/ssl/certs", "etc/ssl/certs/all.crt", "usr/bin/awk", "usr/lib"),
        *("var", "var/lib"),
    }
    foreign.configure(tree, native)

    assert (tree / "etc/passwd").read_text() == "root"
    assert (tree / "etc/ssl/certs/all.crt").read_text() == "certificates"
    assert (tree / "etc/ssl/certs").stat().st_mode & 0o777 == 0o711
    assert (tree / "usr/bin/awk").readlink() == Path("mawk")
    assert (tree / "usr/bin/shell").read_text() == "arm64"
    assert (tree / "etc/base.conf").read_text() == "of arm64's package"
    assert (tree / "etc/base.conf").stat().st_mode & 0o777 == 0o600
    assert not (tree / "etc/ld.so.cache").exists()
    assert not (tree / "usr/lib/modules").exists()
