"""A real systemd that starts our units, in namespaces of its own: nothing of this machine is changed."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

SYSTEMD = Path("/lib/systemd/systemd")
CGROUPS = Path("/sys/fs/cgroup")
INSTALLED = "/opt/leitstand/bin/leitstand"
REPOSITORY = Path(__file__).resolve().parents[3]
SAID = "/run/said"
NEEDED = (REPOSITORY, Path(sys.prefix).resolve(), Path(sys.base_prefix))
"""What the programs are made of."""
START_SECONDS, COMMAND_SECONDS = 60.0, 120.0

# Files of the test are copied, since PrivateTmp needs a /tmp of ours, and services may not look into /root; what the
# programs are made of stays where it is, also there.
BEGIN = """
set -e
mount --make-rprivate /
mount -t proc proc /proc
mount -t tmpfs tmpfs /run
mkdir -p /run/lock /run/etc /run/old/tmp /run/old/root
cp -a /etc/. /run/etc
rm -rf /run/etc/systemd/system
cp -a "$1/etc/." /run/etc
mount --bind /run/etc /etc
mount -t tmpfs tmpfs /var/lib
mkdir -p /var/lib/systemd /var/lib/leitstand
cp -a "$1/data" /run/data
shift
for base in /tmp /root; do
  mount --rbind $base /run/old$base
  mount -t tmpfs -o mode=1777 tmpfs $base
  for kept; do case $kept in $base/*)
    mkdir -p "$kept"
    mount --rbind "/run/old$kept" "$kept";;
  esac; done
done
systemd-sysusers /etc/sysusers.d/leitstand.conf
exec env container=test /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
"""


def missing() -> str:
    """Why no systemd can be started here, or nothing."""
    if os.geteuid() != 0:
        return "only root can start systemd"
    if not SYSTEMD.exists() or shutil.which("unshare") is None or shutil.which("systemd-sysusers") is None:
        return "systemd is not installed"
    if Path("/run/systemd/system").exists():
        return "this machine has a systemd of its own, whose control groups it would share"
    folders = {folder for path in NEEDED for folder in path.parents} - {Path("/root")}
    closed = [folder for folder in folders if not folder.stat().st_mode & 0o001]
    return f"services cannot read what is in {closed[0]}" if closed else ""


class Manager:
    """systemd from `start` to `stop`, with our units and the settings files in `folder`/etc/leitstand."""

    def __init__(self, folder: Path, eventually: Callable[..., None]) -> None:
        self._folder = folder
        self._eventually = eventually
        self._process: subprocess.Popen[bytes] | None = None
        self._pid = 0
        self._groups = _groups()

    def start(self) -> str:
        """Start systemd; return why that did not come about, or nothing."""
        self._write_units()
        unshare = ("unshare", "--pid", "--mount", "--fork", "--uts", "--ipc", "--net", "--cgroup", "--kill-child=KILL")
        script = ("sh", "-c", BEGIN, "sh", str(self._folder), *map(str, NEEDED))
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen([*unshare, *script], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            self._eventually(self._is_up, seconds=START_SECONDS, what="systemd")
        except AssertionError as error:
            return f"{error}: {self.log()[-1000:]}"
        return ""

    def stop(self) -> None:
        """End systemd and all that it has started; removes its control groups."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait(60)
        self._eventually(self._remove_groups, what="the end of all services")

    def log(self) -> str:
        """What systemd and the services have said."""
        said = self.run("cat", SAID).stdout if self._pid else ""
        return (self._folder / "log").read_text(errors="replace") + said

    def run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        """Run a command beside the services."""
        inside = ("nsenter", "--target", str(self._pid), "--all", *command)
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=COMMAND_SECONDS)

    def systemctl(self, *arguments: str) -> str:
        """Run `systemctl`; it must succeed."""
        said = self.run("systemctl", *arguments)
        assert said.returncode == 0, f"{arguments}: {said.stderr} {self.log()[-3000:]}"
        return said.stdout

    def show(self, unit: str) -> dict[str, str]:
        """What systemd knows of a unit."""
        return dict(line.split("=", 1) for line in self.systemctl("show", unit).splitlines() if "=" in line)

    def wait_for(self, unit: str, **wanted: str) -> None:
        """Wait until systemd shows these values of a unit."""

        def are_there() -> bool:
            shown = self.show(unit)
            return all(shown.get(name) == value for name, value in wanted.items())

        try:
            self._eventually(are_there, seconds=COMMAND_SECONDS, what=f"{wanted} of {unit}")
        except AssertionError as error:
            shown = {name: self.show(unit).get(name) for name in (*wanted, "Result", "ExecMainStatus")}
            raise AssertionError(f"{error}: {shown}, {self.log()[-3000:]}") from None

    def _is_up(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, f"systemd ended: {self.log()}"
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        self._pid = int(children[0]) if children else 0
        return bool(self._pid) and self.run("systemctl", "is-active", "test.target").returncode == 0

    def _write_units(self) -> None:
        units, users = self._folder / "etc/systemd/system", self._folder / "etc/sysusers.d"
        for folder in (units, users):
            folder.mkdir(parents=True)
        (units / "test.target").write_text("[Unit]\nDefaultDependencies=no\n")
        shutil.copy(REPOSITORY / "deploy/systemd/leitstand.sysusers.conf", users / "leitstand.conf")
        here = f"[Service]\nEnvironment=PYTHONPATH={REPOSITORY} PYTHONDONTWRITEBYTECODE=1\n"
        here += f"StandardOutput=append:{SAID}\nStandardError=append:{SAID}\nRestartSec=1s\n"
        if any(path.is_relative_to(home) for path in NEEDED for home in ("/root", "/home")):
            here += "ProtectHome=read-only\n"  # where the interpreter of these tests is
        if any(path.is_relative_to("/tmp") for path in NEEDED):
            here += "PrivateTmp=no\nReadWritePaths=/tmp\n"  # the same
        for unit in (REPOSITORY / "deploy/systemd").glob("*.service"):
            text = unit.read_text().replace(INSTALLED, str(Path(sys.prefix) / "bin/leitstand"))
            (units / unit.name).write_text(text)
            (units / f"{unit.name}.d").mkdir()
            (units / f"{unit.name}.d" / "here.conf").write_text(here)

    def _remove_groups(self) -> bool:
        """Remove the control groups that were not there before; returns False while one is in use."""
        for group in sorted(_groups() - self._groups, reverse=True):
            try:
                group.rmdir()
            except OSError:
                return False
        return True


def _groups() -> set[Path]:
    """The control groups that systemd makes, by their names."""
    found = (path for suffix in ("slice", "scope", "service", "mount") for path in CGROUPS.rglob(f"*.{suffix}"))
    return {path for path in found if path.is_dir()}
