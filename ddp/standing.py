"""Where a run stands: the few things that change as it goes, each with one owner and the same on every rank."""

from dataclasses import dataclass

from ddp.progress import Progress
from service.live import LiveSettings
from service.run_state import RunState
from service.settings import RunConfig


@dataclass
class Standing:
    """Where a run stands; the same on every rank. `ending` is set once it is to end."""

    progress: Progress
    live: LiveSettings
    is_paused: bool = False
    is_leaving: bool = False
    ending: RunState | None = None

    @property
    def config(self) -> RunConfig:
        """The settings in force now."""
        return self.live.config
