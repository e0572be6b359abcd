"""The README: its first screen, and that everything it points to is there."""

import re
from pathlib import Path

from service.cli import leitstand

FIRST_SCREEN_LINES = 20


def test_the_first_screen_says_what_it_is_shows_it_and_gives_the_two_commands(repository: Path) -> None:
    screen = "\n".join((repository / "README.md").read_text().splitlines()[:FIRST_SCREEN_LINES])

    assert "control room for training video super-resolution" in screen
    assert "(docs/dashboard.png)" in screen
    assert "make run" in screen
    assert "make test" in screen


def test_every_link_of_every_page_leads_somewhere(repository: Path) -> None:
    for page in [repository / "README.md", *(repository / "docs").glob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} points to {target}"


def test_every_leitstand_command_in_the_readme_exists(repository: Path) -> None:
    mentioned = set(re.findall(r"leitstand (\w+)", (repository / "README.md").read_text()))

    assert {"stop", "validate", "state", "stats", "serve"} <= mentioned
    assert mentioned <= set(leitstand.commands)
