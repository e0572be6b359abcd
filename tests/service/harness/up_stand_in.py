"""`leitstand up` with stand-ins for its children: python -m tests.service.harness.up_stand_in FOLDER [--status-line]"""

import sys
from pathlib import Path

import click

from service.launcher.processes import Timing
from service.launcher.supervisor import LaunchPlan, Supervisor
from tests.service.harness.children import LEAVES_IN_ORDER, program


def main(folder: Path, *options: str) -> int:
    """Supervise stand-ins at this process's terminal."""
    plan = LaunchPlan(
        trainer=program(LEAVES_IN_ORDER, folder, "trainer"),
        api=program(LEAVES_IN_ORDER, folder, "api", 0),
        preparation=None,
        store=folder / "leitstand.db",
        log=folder / "training.log",
        url="http://127.0.0.1:5050/",
        actor="eva",
        serve_on=True,
        has_status_line="--status-line" in options,
    )
    return Supervisor(plan, click.echo, timing=Timing(tick_seconds=0.05)).run()


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), *sys.argv[2:]))
