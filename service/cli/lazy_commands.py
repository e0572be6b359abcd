"""Commands by name, each imported when it is asked for: `leitstand state` does not load what `up` needs."""

from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module

import click


class LazyCommands(MutableMapping[str, click.Command]):
    """The commands of a group. Their names are known without an import, so that a wrong one is answered at once."""

    def __init__(self, places: Mapping[str, str]) -> None:
        """`places` says for each name where the command is: `module:attribute`."""
        self._known: dict[str, str | click.Command] = dict(places)

    def __getitem__(self, name: str) -> click.Command:
        known = self._known[name]
        if isinstance(known, str):
            module, _, attribute = known.partition(":")
            command: click.Command = getattr(import_module(module), attribute)
            self._known[name] = known = command
        return known

    def __setitem__(self, name: str, command: click.Command) -> None:
        self._known[name] = command

    def __delitem__(self, name: str) -> None:
        del self._known[name]

    def __contains__(self, name: object) -> bool:
        return name in self._known

    def __iter__(self) -> Iterator[str]:
        return iter(self._known)

    def __len__(self) -> int:
        return len(self._known)
