"""The command as a person runs it: one sentence on stderr, an exit code, never a traceback."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from controller.cli.config_command import documentation

ROOT = Path(__file__).resolve().parents[3]
RUN = "import sys; from controller.cli import main; sys.exit(main())"


def chinampa(*arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'proto'}"}
    command = [sys.executable, "-c", RUN, *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=30, check=False, env=environment, input=stdin
    )


def test_the_documentation_of_settings_is_the_table() -> None:
    assert (ROOT / "docs" / "config.md").read_text() == documentation(), "chinampa config > docs/config.md"


def test_an_unknown_setting_is_told_in_one_sentence_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text("[link]\nprot = 1\n")
    done = chinampa("controller", "--config", str(tmp_path / "c.toml"))

    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "line 2, key link.prot: there is no such setting; did you mean link.port?" in done.stderr


def test_without_a_controller_cells_and_status_say_how_to_start_one(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'state = "{tmp_path}"\n')
    for command in ("cells", "status"):
        done = chinampa(command, "--config", str(tmp_path / "c.toml"))

        assert done.returncode == 1
        assert "No such file or directory; start it: chinampa controller" in done.stderr
        assert "Traceback" not in done.stderr


def test_choose_explains_what_fits_and_what_does_not(tmp_path: Path) -> None:
    (tmp_path / "pod.yaml").write_text(
        "kind: Pod\nspec:\n  containers:\n  - name: a\n    resources: {requests: {cpu: 500m, memory: 1Gi}}\n"
    )
    done = chinampa("choose", "-f", str(tmp_path / "pod.yaml"))

    assert done.returncode == 0, done.stderr
    assert "demand: 500m CPU, 1120 MiB memory" in done.stdout
    assert "by memory" in done.stdout


MANY = """
kind: Pod
metadata: {name: cheap, annotations: {chinampa.dev/launch-type: "spot,on-demand"}}
spec: {containers: [{name: a, resources: {requests: {cpu: "2", memory: 3Gi, ephemeral-storage: 40G}}}]}
---
kind: Deployment
metadata: {name: web}
spec:
  template:
    spec: {containers: [{name: a, resources: {requests: {cpu: "2", memory: 3Gi}}}]}
"""


def test_choose_explains_each_pod_of_a_manifest_and_spot_where_a_pod_allows_it() -> None:
    done = chinampa("choose", "--bundled", "-f", "-", "--most", "1", stdin=MANY)

    assert done.returncode == 0, done.stderr
    cheap, web = done.stdout.split("deployment web")
    assert "40 GB disk" in cheap
    assert " spot " in cheap
    assert " on-demand " in web
    assert " spot " not in web.partition("turned away")[0]


def test_choose_refuses_by_name_what_runs_no_pod_and_a_region_that_is_not_known() -> None:
    done = chinampa("choose", "--bundled", "-f", "-", stdin="kind: Service\n")
    assert (done.returncode, "Service is no Pod" in done.stderr) == (1, True)
    mistyped = "kind: Pod\nspec: {containers: [{name: a, resources: {limits: {cpu: [1]}}}]}\n"
    done = chinampa("choose", "--bundled", "-f", "-", stdin=mistyped)
    assert (done.returncode, "$.containers[0].resources.limits" in done.stderr) == (1, True)
    done = chinampa("choose", "--bundled", "-f", "-", "--region", "mars-north-1", stdin=MANY)
    assert (done.returncode, "region mars-north-1" in done.stderr) == (1, True)


@pytest.mark.skipif(os.geteuid() != 0, reason="the answer depends on the user")
def test_doctor_lists_what_the_machine_has_and_its_exit_code_says_whether_that_is_enough() -> None:
    done = chinampa("doctor")

    assert "OCI runtime" in done.stdout
    assert done.returncode == ("lacks" in done.stdout)


def test_prices_without_a_controller_are_those_of_the_snapshot_and_say_so(tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(f'state = "{tmp_path}"\n')
    done = chinampa("prices", "--config", str(tmp_path / "c.toml"), "--family", "m7i", "--max", "0.11")

    assert done.returncode == 0, done.stderr
    assert "no controller runs here" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()[1:2]] == ["m7i.large"]
    assert "0.1008" in done.stdout
    assert "bundled snapshot" in done.stdout
    assert "as it came with the code" in done.stdout


def test_prices_of_a_region_that_the_snapshot_lacks_are_refused_by_name() -> None:
    done = chinampa("prices", "--bundled", "--region", "mars-north-1")

    assert done.returncode == 1
    assert "region mars-north-1: the snapshot has no prices of it; it has those of us-east-1" in done.stderr
