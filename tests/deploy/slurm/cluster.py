"""A real Slurm cluster of this one machine, on loopback, with everything in one folder."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "srun", "scancel", "scontrol", "sinfo")
FREEZER = Path("/sys/fs/cgroup/freezer")
START_SECONDS, JOB_SECONDS = 60.0, 240.0

# `cred_expire` is also how long Slurm keeps a requeued job waiting: two minutes, unless it is said. The machine claims
# more processors than it has, so that a job of high priority has to push another aside only if it asks for all of them.
CONFIGURATION = """
ClusterName=one
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket,cred_expire=5
CredType=cred/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd.log
ProctrackType=proctrack/{tracking}
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerParameters=sched_interval=2,bf_interval=2,batch_sched_delay=0
KillWait=60
MinJobAge=3600
ReturnToService=2
SlurmdParameters=config_overrides
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs=16 RealMemory=8000 State=UNKNOWN
PartitionName=low Nodes={host} Default=YES MaxTime=INFINITE State=UP PriorityTier=1 PreemptMode=REQUEUE GraceTime=60
PartitionName=high Nodes={host} MaxTime=INFINITE State=UP PriorityTier=10 PreemptMode=OFF
"""
CGROUPS = "CgroupPlugin=cgroup/v1\nCgroupMountpoint=/sys/fs/cgroup\nCgroupAutomount=no\nConstrainCores=no\n"


def missing() -> str:
    """Why no cluster can be started here, or nothing."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if absent:
        return f"not installed: {', '.join(absent)}"
    return "" if os.geteuid() == 0 else "only root can start Slurm's daemons"


class Cluster:
    """Daemons that run from `start` to `stop`."""

    def __init__(self, folder: Path, eventually: Callable[..., None]) -> None:
        self.folder = folder
        self._eventually = eventually
        self.environment = {**os.environ, "SLURM_CONF": str(folder / "slurm.conf")}

    def start(self) -> str:
        """Start all daemons, and wait until a job could run; return why that did not come about, or nothing."""
        self._write_files()
        munge = self.folder / "munge"
        try:
            self._run(
                "munged", "--force", f"--key-file={munge / 'key'}", f"--socket={munge / 'socket'}",
                f"--pid-file={self.folder / 'munged.pid'}", f"--log-file={munge / 'log'}",
                f"--seed-file={munge / 'seed'}",
            )  # fmt: skip
            self._run("slurmctld", "-f", self.environment["SLURM_CONF"])
            self._run("slurmd", "-f", self.environment["SLURM_CONF"], "-N", _host())
            self._eventually(self._is_idle, seconds=START_SECONDS, what="a machine without work")
        except AssertionError as error:
            return f"{error}: {[path.read_text()[-500:] for path in self.folder.glob('*.log')]}"
        return ""

    def stop(self) -> None:
        """End all jobs and daemons."""
        subprocess.run(["scancel", "--state=PENDING"], env=self.environment, check=False, timeout=30)
        subprocess.run(
            ["scancel", "--signal=KILL", "--full", "--user=root"], env=self.environment, check=False, timeout=30
        )
        for name in ("slurmd", "slurmctld", "munged"):
            path = self.folder / f"{name}.pid"
            if path.exists():
                subprocess.run(["kill", path.read_text().strip()], check=False)
        self._eventually(lambda: not (self.folder / "munged.pid").exists(), what="the end of the daemons")

    def submit(self, script: Path | str, *arguments: str, options: tuple[str, ...] = ()) -> "Job":
        """Queue a script; `options` are sbatch's and win over those in the script."""
        command = ["--parsable", "--mem=100", f"--output={self.folder}/job-%j.log", *options, str(script), *arguments]
        return Job(self, int(self._run("sbatch", *command)))

    def show(self, job: int) -> dict[str, str]:
        """What Slurm says of a job."""
        words = self._run("scontrol", "--oneliner", "show", "job", str(job)).split()
        return dict(word.split("=", 1) for word in words if "=" in word)

    def cancel(self, job: int) -> None:
        """End a job for good."""
        self._run("scancel", str(job))

    def limit_time(self, job: int, minutes: int) -> None:
        """Give each start of a job so many minutes; Slurm compares with the clock every 30 seconds."""
        self._run("scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}")

    def _write_files(self) -> None:
        munge = self.folder / "munge"
        for folder in (self.folder, munge, self.folder / "state", self.folder / "spool"):
            folder.mkdir(exist_ok=True)
            folder.chmod(0o711)
        (munge / "key").write_bytes(os.urandom(1024))
        (munge / "key").chmod(0o400)
        tracking = "cgroup" if os.access(FREEZER, os.W_OK) else "linuxproc"
        text = CONFIGURATION.format(host=_host(), folder=self.folder, ports=_free_ports(2), tracking=tracking)
        (self.folder / "slurm.conf").write_text(text)
        (self.folder / "cgroup.conf").write_text(CGROUPS)

    def _is_idle(self) -> bool:
        said = subprocess.run(
            ["sinfo", "--noheader", "--format=%t"], env=self.environment, capture_output=True, text=True, check=False
        )
        return "idle" in said.stdout

    def _run(self, *command: str) -> str:
        said = subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert said.returncode == 0, f"{command}: {said.stdout}{said.stderr}"
        return said.stdout


class Job:
    """One job of a cluster."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        self._cluster = cluster
        self.number = number

    @property
    def output(self) -> str:
        """What it printed so far, over all its starts."""
        path = self._cluster.folder / f"job-{self.number}.log"
        return path.read_text() if path.exists() else ""

    @property
    def restarts(self) -> int:
        """How often it was queued again."""
        return int(self._cluster.show(self.number)["Restarts"])

    def wait_for(self, **said: str) -> None:
        """Wait until Slurm says this of it."""
        deadline = time.monotonic() + JOB_SECONDS
        while not said.items() <= (found := self._cluster.show(self.number)).items():
            assert time.monotonic() < deadline, f"{said} did not hold; {found}\n{self.output}"
            time.sleep(0.3)

    def limit_time(self, minutes: int) -> None:
        """Give each of its starts so many minutes."""
        self._cluster.limit_time(self.number, minutes)

    def cancel(self) -> None:
        """End it for good."""
        self._cluster.cancel(self.number)


def _host() -> str:
    return socket.gethostname().partition(".")[0]


def _free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [listener.getsockname()[1] for listener in sockets]
    for listener in sockets:
        listener.close()
    return ports
