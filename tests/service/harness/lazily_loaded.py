"""Two commands that nothing imports but a test of `LazyCommands`."""

import click

greet, part = click.Command("greet"), click.Command("part")
