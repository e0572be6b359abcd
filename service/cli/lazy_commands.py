"""Commands that are imported on first use, so that `leitstand state` does not load the modules of `leitstand up`."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class LazyCommands(MutableMapping[str, click.Command]):
    """The commands of a group; their names are known without importing them."""

    def __init__(self, locations: Mapping[str, str]) -> None:
        """Use `locations`, which maps each name to the command's `module:attribute`."""
        self._commands: dict[str, str | click.Command] = dict(locations)

    def __getitem__(self, name: str) -> click.Command:
        entry = self._commands[name]
        if isinstance(entry, str):
            module, _, attribute = entry.partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            self._commands[name] = entry = command
        return entry

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._commands[name] = command

    def __delitem__(self, name: str) -> None:
        del self._commands[name]

    def __contains__(self, name: object) -> bool:
        return name in self._commands

    def __iter__(self) -> Iterator[str]:
        return iter(self._commands)

    def __len__(self) -> int:
        return len(self._commands)
