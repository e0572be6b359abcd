"""The mutable state of a run: the few things that change as it goes, each with one owner and the same on every rank."""

from ddp.step.progress import Progress
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.run.state import RunState


class RunStatus:
    """The mutable state of a run, the same on every rank. `ending` is set once it is to end."""

    def __init__(self, progress: Progress, live: LiveSettings) -> None:
        self.progress = progress
        self.is_paused = False
        self.is_leaving = False
        self.ending: RunState | None = None
        self.live = live

    @property
    def live(self) -> LiveSettings:
        """The settings of the start, and what was changed since."""
        return self._live

    @live.setter
    def live(self, live: LiveSettings) -> None:
        self._live = live
        self._config = live.config  # made once: a step looks at it several times, and making it checks every range

    @property
    def config(self) -> RunConfig:
        """The settings in force now: to be asked for every time, and never kept."""
        return self._config
