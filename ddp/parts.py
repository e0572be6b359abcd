"""What a trainer is made of. Built in `ddp/assembly.py`."""

from dataclasses import dataclass

from ddp.adaptive.controller import Controller
from ddp.bad_steps import BadSteps
from ddp.composer import Composer
from ddp.control import Control
from ddp.feed import Feed
from ddp.ledger import Ledger
from ddp.recorder import Recorder
from ddp.saving import Saver
from ddp.signals import LeaveRequest
from ddp.silence import SilentRecorder
from ddp.stages import StageMarker
from ddp.standing import Standing
from ddp.stepper import Stepper
from ddp.window import Window
from ddp.workload import Workload
from ddp.world import World
from service.run_directory import RunDirectory


@dataclass(frozen=True)
class Parts:
    """The parts of one rank's trainer; the same on every rank but for the recorder."""

    world: World
    run_id: str
    directory: RunDirectory
    workload: Workload
    feed: Feed
    stepper: Stepper
    controller: Controller
    ledger: Ledger
    bad_steps: BadSteps
    window: Window
    composer: Composer
    control: Control
    recorder: Recorder | SilentRecorder
    saver: Saver
    marker: StageMarker
    leave: LeaveRequest
    standing: Standing
