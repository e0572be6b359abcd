"""The README: its first screen, and that everything it points to is there."""

import re
from pathlib import Path

from service.cli import leitstand

FIRST_SCREEN_LINES = 20


def test_the_first_screen_says_what_it_is_shows_it_and_gives_the_two_commands(repository: Path) -> None:
    screen = "\n".join((repository / "README.md").read_text().splitlines()[:FIRST_SCREEN_LINES])

    assert "control room for training video super-resolution" in screen
    assert "(docs/dashboard.webp)" in screen
    assert "make run" in screen
    assert "make test" in screen


def anchors(page: Path) -> set[str]:
    """What can stand after `#` in a link to a page: its headings as GitHub turns them into names."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading).lower().replace(" ", "-") for heading in headings}


def test_every_link_of_every_page_leads_somewhere(repository: Path) -> None:
    pages = [repository / "README.md", repository / "examples" / "README.md", *(repository / "docs").glob("*.md")]
    for page in pages:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", page.read_text()):
            there = page.parent / target if target else page
            assert there.exists(), f"{page.name} points to {target}"
            assert not anchor or anchor in anchors(there), f"{page.name} points to {target}#{anchor}"


def test_every_page_of_the_docs_is_linked(repository: Path) -> None:
    readme = (repository / "README.md").read_text()

    assert [page.name for page in (repository / "docs").glob("*.md") if f"(docs/{page.name})" not in readme] == []


def test_every_leitstand_command_in_the_readme_exists(repository: Path) -> None:
    mentioned = set(re.findall(r"leitstand (\w+)", (repository / "README.md").read_text()))

    assert {"stop", "validate", "state", "stats", "serve", "set", "rollback", "ranks"} <= mentioned
    assert mentioned <= set(leitstand.commands)
