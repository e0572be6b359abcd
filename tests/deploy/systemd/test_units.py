"""The systemd units: judged by systemd's own tools, and true to the exit codes and times of the programs they start."""

import os
import re
import shutil
import socket
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import pytest

from service.config.loader import load_config
from service.errors import LAST_STATE_UNSAVED, UserError
from service.launcher.termination import KILLED, SIGTERM_EXIT_CODE
from tests.api.harness.serving import serving

ANALYZE = shutil.which("systemd-analyze")
SYSUSERS = shutil.which("systemd-sysusers")
UNITS = ("leitstand-api.service", "leitstand-train@.service")
INSTALLED = "/opt/leitstand/bin/leitstand"
MOST_EXPOSED = {"leitstand-api.service": 1.5, "leitstand-train@.service": 2.5}
"""The highest exposure that `systemd-analyze security` may find, of 10: GPUs and compiled kernels cost the second."""

analyzed = pytest.mark.skipif(ANALYZE is None, reason="systemd-analyze is not installed")


@pytest.fixture(scope="module")
def folder(repository: Path) -> Path:
    return repository / "deploy" / "systemd"


def settings_of(unit: Path) -> dict[str, list[str]]:
    """What a unit sets, in the order of its lines."""
    found = defaultdict(list)
    for key, value in re.findall(r"^([A-Za-z]+)=(.*)$", unit.read_text(), re.MULTILINE):
        found[key].append(value)
    return found


def placed(folder: Path, name: str, target: Path) -> Path:
    """A copy of a unit whose program is the one of this environment; a template gets an instance's name."""
    text = (folder / name).read_text()
    assert INSTALLED in text
    copy = target / name.replace("@", "@night")
    copy.write_text(text.replace(INSTALLED, str(Path(sys.executable).with_name("leitstand"))))
    return copy


def analyze(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "SYSTEMD_LOG_LEVEL": "warning"}
    return subprocess.run(
        [str(ANALYZE), *arguments], capture_output=True, text=True, check=False, env=environment, timeout=60
    )


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_systemd_finds_nothing_to_say_of_a_unit(folder: Path, tmp_path: Path, name: str) -> None:
    result = analyze("verify", "--man=no", str(placed(folder, name, tmp_path)))

    about = [line for line in result.stderr.splitlines() if "leitstand" in line]
    assert (result.returncode, about) == (0, [])


@analyzed
def test_the_check_notices_a_misspelt_key(folder: Path, tmp_path: Path) -> None:
    unit = placed(folder, UNITS[0], tmp_path)
    unit.write_text(unit.read_text().replace("ProtectHome=", "ProtectHomes="))

    assert "ProtectHomes" in analyze("verify", "--man=no", str(unit)).stderr


@analyzed
@pytest.mark.parametrize("name", UNITS)
def test_a_service_is_confined(folder: Path, tmp_path: Path, name: str) -> None:
    unit, most = placed(folder, name, tmp_path), MOST_EXPOSED[name]

    result = analyze("security", "--offline=yes", f"--threshold={10 * most:.0f}", "--no-pager", str(unit))

    assert result.returncode == 0, result.stdout + result.stderr


@analyzed
def test_the_confinement_is_really_measured(folder: Path, tmp_path: Path) -> None:
    unit = placed(folder, UNITS[0], tmp_path)
    lines = unit.read_text().splitlines()
    unit.write_text("\n".join(line for line in lines if not re.match("Protect|Restrict|System|Capab|Private", line)))

    assert analyze("security", "--offline=yes", "--threshold=20", "--no-pager", str(unit)).returncode != 0


@pytest.mark.skipif(SYSUSERS is None, reason="systemd-sysusers is not installed")
def test_both_services_run_as_the_user_that_is_made_for_them(folder: Path) -> None:
    file = folder / "leitstand.sysusers.conf"
    result = subprocess.run(
        [str(SYSUSERS), "--dry-run", str(file)], capture_output=True, text=True, check=False, timeout=60
    )

    assert result.returncode == 0, result.stderr
    assert re.search(r"^u leitstand ", file.read_text(), re.MULTILINE)
    assert [settings_of(folder / name)["User"] for name in UNITS] == [["leitstand"], ["leitstand"]]


@pytest.mark.parametrize("name", UNITS)
def test_what_is_refused_is_not_started_again(folder: Path, name: str) -> None:
    unit = settings_of(folder / name)

    assert unit["RestartPreventExitStatus"] == [str(UserError.exit_code)]


def test_a_training_that_failed_goes_on_and_one_that_was_told_to_leave_does_not(folder: Path) -> None:
    unit = settings_of(folder / "leitstand-train@.service")
    good_ends = {int(code) for code in unit["SuccessExitStatus"][0].split()}

    assert unit["Restart"] == ["on-failure"]
    assert SIGTERM_EXIT_CODE in good_ends
    assert good_ends.isdisjoint({1, UserError.exit_code, LAST_STATE_UNSAVED, KILLED})
    assert unit["ExecStart"] == [f"{INSTALLED} train --resume --config /etc/leitstand/%i.toml"]


def test_a_stop_leaves_time_to_save(folder: Path) -> None:
    unit = settings_of(folder / "leitstand-train@.service")
    variables = dict(text.split("=", 1) for text in unit["Environment"])

    assert 30 < int(variables["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"]) < int(unit["TimeoutStopSec"][0].removesuffix("s"))
    assert unit["KillMode"] == ["mixed"]


def test_a_training_writes_where_the_api_looks(folder: Path) -> None:
    trainer, api = (settings_of(folder / name) for name in reversed(UNITS))
    variables = dict(text.replace("%i", "night").split("=", 1) for text in trainer["Environment"])
    given = {key: value for key, value in variables.items() if key.startswith("LEITSTAND_")}

    assert load_config(None, (), given).config.data_root == Path("/var/lib/leitstand/night")
    assert trainer["StateDirectory"] == ["leitstand/%i"]
    assert api["StateDirectory"] == ["leitstand"]
    assert api["ExecStart"] == [f"{INSTALLED} serve /var/lib/leitstand"]


def test_the_api_tells_systemd_when_it_listens(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`Type=notify` would wait for ever for a server that says nothing."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as told:
        told.bind(str(tmp_path / "notify"))
        told.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        with serving(tmp_path / "run"):
            assert told.recv(4096).startswith(b"READY=1")

    assert settings_of(folder / "leitstand-api.service")["Type"] == ["notify"]
