"""Where settings come from besides the environment. Loading it needs nothing of what starts programs."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from service.config.loader import LoadedConfig, load_config


@dataclass(frozen=True)
class SettingsSource:
    """Sources of settings besides the environment; all processes of one start use the same."""

    file: Path | None = None
    overrides: tuple[str, ...] = ()

    def load(self, environment: Mapping[str, str]) -> LoadedConfig:
        """Load and check the settings; raises `SettingError`."""
        return load_config(self.file, self.overrides, environment)

    def arguments(self) -> list[str]:
        """Return the command-line options with which another process loads the same settings."""
        file = [] if self.file is None else ["--config", str(self.file)]
        return file + [part for override in self.overrides for part in ("--set", override)]
