"""Mutable state of the run, identical on every rank; each value has one owner."""

from ddp.control.replay import Replay
from ddp.step.progress import Progress
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.run.state import RunState


class RunStatus:
    """Mutable state of the run, identical on every rank.

    `ending` is the final state, set once the run is to end; `unsaved` is the reason if its last state is not on disk.
    `replay` is what the run repeats of another one.
    """

    def __init__(self, progress: Progress, live: LiveSettings) -> None:
        self.progress = progress
        self.is_paused = False
        self.is_leaving = False
        self.ending: RunState | None = None
        self.unsaved: str | None = None
        self.live = live
        self.replay = Replay()

    @property
    def live(self) -> LiveSettings:
        """Settings of the start and the changes since."""
        return self._live

    @live.setter
    def live(self, live: LiveSettings) -> None:
        self._live = live
        self._config = live.config  # cached: each step reads it several times, and building it validates every range

    @property
    def config(self) -> RunConfig:
        """Settings in force now. Read it every time; do not keep a reference."""
        return self._config
