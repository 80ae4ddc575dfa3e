"""Settings: what is read, what is refused and how, what is documented."""

from __future__ import annotations

from pathlib import Path

import pytest

from cellwire.faults import Fault, Kind
from controller import config
from controller.cli.config_command import documentation

FILE = """\
state = "/tmp/state"

[link]
host = "10.7.0.1"
port = 7711

[cloud]
kind = "local"

[cloud.local]
cluster = "demo"
subnet = "10.7.0.0/16"

[[registries]]
host = "registry.demo"
mirrors = ["http://10.7.0.1:5000"]

[[registries]]
host = "other.demo"
plain_http = true

[[standby]]
count = 2
cpu = "500m"
memory = "256Mi"
"""


def refused(text: str, flags: dict[str, object] | None = None) -> str:
    with pytest.raises(Fault) as raised:
        config.parse(text, "c.toml", flags)
    assert raised.value.kind is Kind.INVALID
    return str(raised.value)


def test_a_file_gives_settings_grouped_by_room() -> None:
    settings = config.parse(FILE, "c.toml")

    assert settings.state == Path("/tmp/state")
    assert (settings.link.host, settings.link.port) == ("10.7.0.1", 7711)
    assert settings.cloud.local.cluster == "demo"
    assert [each.host for each in settings.registries] == ["registry.demo", "other.demo"]
    assert settings.standby[0].count == 2
    assert settings.fleet == config.FleetOptions()


def test_no_file_gives_the_defaults() -> None:
    assert config.load(None) == config.Settings()


@pytest.mark.parametrize(
    ("wrong", "line", "key"),
    [
        ('state = "/s"\n[link]\nprot = 1\n', 3, "link.prot"),
        ("[lnik]\nport = 1\n", 1, "lnik"),
        ("nonsense = 1\n", 1, "nonsense"),
        ("link.prot = 1\n", 1, "link.prot"),
        ('[[registries]]\nhost = "a"\n\n[[registries]]\nhost = "b"\nmirror = []\n', 6, "registries[1].mirror"),
        ("[fleet]\nlease = 3\nlink = { x = 1 }\n", 3, "fleet.link"),
    ],
)
def test_an_unknown_key_is_refused_with_its_line(wrong: str, line: int, key: str) -> None:
    said = refused(wrong)

    assert f"line {line}, key {key}" in said
    assert "there is no such setting" in said


def test_a_typo_is_answered_with_the_nearest_key() -> None:
    assert "did you mean link.port?" in refused("[link]\nprot = 1\n")


@pytest.mark.parametrize(
    ("wrong", "line", "key"),
    [
        ('[link]\nhost = "h"\nport = "many"\n', 3, "link.port"),
        ("[link]\nport = 70000\n", 2, "link.port"),
        ("[fleet]\nlease = 0\n", 2, "fleet.lease"),
        ('[cloud]\nkind = "moon"\n', 2, "cloud.kind"),
        ('[[registries]]\nhost = "a"\nplain_http = 3\n', 3, "registries[0].plain_http"),
        ("[[registries]]\nmirrors = []\n", 1, "registries[0]"),
    ],
)
def test_a_value_of_the_wrong_kind_is_refused_with_its_line(wrong: str, line: int, key: str) -> None:
    assert f"line {line}, key {key}" in refused(wrong)


def test_broken_toml_is_refused_with_its_line() -> None:
    assert "line 2" in refused('state = "/s"\n[link\n')


def test_an_unreadable_file_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(Fault, match=r"nowhere\.toml: No such file"):
        config.load(tmp_path / "nowhere.toml")


def test_flags_win_over_the_file() -> None:
    settings = config.parse(FILE, "c.toml", {"link.port": 1, "cloud.local.bridge": "b7"})

    assert (settings.link.host, settings.link.port, settings.cloud.local.bridge) == ("10.7.0.1", 1, "b7")


def test_every_setting_has_help_and_a_flag_of_its_own() -> None:
    rows = config.table()

    assert all(row.help.endswith(".") for row in rows), [row.key for row in rows if not row.help.endswith(".")]
    flags = [row.flag for row in rows if row.flag]
    assert len(set(flags)) == len(flags)


def test_the_documentation_names_every_setting_with_its_default() -> None:
    text = documentation()

    assert "| `link.port` | `--link-port` | whole number | `7443` | TCP port to listen on; 0 takes any. |" in text
    assert "| `fleet.lease` | `--fleet-lease` | number | `30.0` |" in text
    assert all(f"`{row.key}`" in text for row in config.table())
