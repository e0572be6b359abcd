"""The units under a real systemd: confined as they are, they serve and train, end and go on as their exit codes say."""

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.ddp.harness.launching import settings, write_pair
from tests.deploy.systemd.manager import Manager, missing

pytestmark = [pytest.mark.skipif(bool(missing()), reason=missing()), pytest.mark.timeout(600)]
Eventually = Callable[..., None]
API, TRAINING = "leitstand-api.service", "leitstand-train@night.service"
ASK = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:5050/livez', timeout=20).status)"


@pytest.fixture(scope="module")
def manager(tmp_path_factory: pytest.TempPathFactory, eventually: Eventually) -> Iterator[Manager]:
    folder = tmp_path_factory.mktemp("systemd")
    (folder / "etc/leitstand").mkdir(parents=True)
    (folder / "etc/leitstand/night.toml").write_text(night())
    (folder / "etc/leitstand/wrong.toml").write_text("MAX_STEP = 3\n")
    for index in range(8):
        write_pair(folder / "data/Patches", f"train_{index}", 36, 36, seed=index)
    write_pair(folder / "data/Val", "val_0", 36, 36, seed=100)
    manager = Manager(folder, eventually)
    try:
        if reason := manager.start():
            pytest.skip(f"systemd does not start here: {reason}")
        yield manager
    finally:
        manager.stop()


def night() -> str:
    """Settings of a tiny training that does not end by itself."""
    given = settings(DATASET_ROOT="/run/data", MAX_STEPS=1_000_000, VAL_STEP_EVERY=1_000_000, CHECKPOINT_EVERY=20)
    pairs = dict(text.split("=", 1) for text in given[1::2])
    return "".join(f"{name} = '{value}'\n" for name, value in pairs.items())


def files(manager: Manager, pattern: str) -> list[str]:
    return manager.run("sh", "-c", f"ls -d /var/lib/leitstand/{pattern}").stdout.split()


def test_the_api_serves_and_is_there_again_after_it_was_killed(manager: Manager) -> None:
    manager.systemctl("start", API)  # returns once it listens
    assert manager.run(sys.executable, "-c", ASK).stdout.strip() == "200"

    manager.systemctl("kill", "--signal=KILL", "--kill-who=main", API)
    manager.wait_for(API, NRestarts="1", ActiveState="active")
    assert manager.run(sys.executable, "-c", ASK).stdout.strip() == "200"

    manager.systemctl("stop", API)
    assert manager.show(API)["Result"] == "success"


def test_a_training_goes_on_after_it_was_killed_and_saves_when_it_is_stopped(
    manager: Manager, eventually: Eventually
) -> None:
    manager.systemctl("start", TRAINING)
    eventually(lambda: files(manager, "night/checkpoints/step_*"), seconds=120, what="a checkpoint")
    manager.systemctl("kill", "--signal=KILL", "--kill-who=all", TRAINING)
    manager.wait_for(TRAINING, NRestarts="1", ActiveState="active")
    log = "/var/lib/leitstand/night/training.log"
    eventually(lambda: "Resuming at step" in manager.run("cat", log).stdout, seconds=120, what="the second start")

    manager.systemctl("stop", TRAINING)

    shown = manager.show(TRAINING)
    assert (shown["ActiveState"], shown["Result"]) == ("inactive", "success")
    lines = manager.run("cat", log).stdout.splitlines()
    *_, leaving, saved = [line for line in lines if "Time spent in this start" not in line]
    assert "Leaving after a signal at step" in leaving
    assert "Checkpoint saved" in saved


def test_settings_that_are_refused_are_not_tried_again(manager: Manager) -> None:
    unit = "leitstand-train@wrong.service"
    manager.systemctl("start", unit)

    manager.wait_for(unit, ActiveState="failed")
    shown = manager.show(unit)
    assert (shown["Result"], shown["ExecMainStatus"], shown["NRestarts"]) == ("exit-code", "2", "0")
    assert "Did you mean MAX_STEPS?" in manager.log()
