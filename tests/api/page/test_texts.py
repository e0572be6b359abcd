"""The page's languages: the same keys in each, and every text of the page among them."""

import re
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from selenium.webdriver import Chrome

from tests.api.harness.browsing import text_of
from tests.api.harness.dashboard import set_field

Eventually = Callable[..., None]
LANGUAGES = ("en", "de")
STATIC = Path("api/static")


def texts(repository: Path, language: str) -> dict[str, str]:
    source = (repository / STATIC / "texts" / f"{language}.js").read_text()
    found = re.findall(r'^  "([^"]+)": "(.*)",$', source, re.MULTILINE)
    assert len(dict(found)) == len(found), "a key is there twice"
    return dict(found)


def test_every_language_has_the_same_keys_in_the_same_order(repository: Path) -> None:
    first, *others = (list(texts(repository, language)) for language in LANGUAGES)

    assert len(first) > 200
    assert all(other == first for other in others)


def test_every_language_names_the_same_values(repository: Path) -> None:
    english, german = (texts(repository, language) for language in LANGUAGES)

    values = {key: sorted(set(re.findall(r"\{(\w+)\}", text))) for key, text in english.items()}
    assert values == {key: sorted(set(re.findall(r"\{(\w+)\}", text))) for key, text in german.items()}


class Template(HTMLParser):
    """The texts of a template's elements that name a key: (key, text)."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._key: str | None = None

    def handle_starttag(self, _tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self._key = given.get("data-t")
        if "data-t-label" in given:
            self.found.append((given["data-t-label"], given["aria-label"]))
        if "data-t-hint" in given:
            self.found.append((given["data-t-hint"], given["placeholder"]))

    def handle_data(self, data: str) -> None:
        if self._key is not None:
            self.found.append((self._key, data))
        self._key = None


def test_the_page_is_delivered_in_english(repository: Path) -> None:
    template = Template()
    template.feed((repository / "api/templates/index.html").read_text())
    english = texts(repository, "en")

    assert len(template.found) > 100
    assert [(key, text) for key, text in template.found if english.get(key) != text] == []


def test_every_text_that_a_script_names_is_there(repository: Path) -> None:
    english = texts(repository, "en")
    scripts = [path for path in (repository / STATIC).rglob("*.js") if not {"vendor", "texts"} & set(path.parts)]
    source = "\n".join(path.read_text() for path in scripts)

    named = set(re.findall(r'(?:\bt\(|key: )"([\w-]+\.[\w.-]+)"', source))
    counted = set(re.findall(r'\bcounted\("([\w.-]+)"', source))
    wanted = named | {f"{key}.{form}" for key in counted for form in ("one", "other")}
    assert len(wanted) > 80
    assert wanted - set(english) == set()


def test_no_text_is_there_for_nothing(repository: Path) -> None:
    files = [*(repository / STATIC).rglob("*.js"), repository / "api/templates/index.html"]
    source = "\n".join(path.read_text() for path in files if not {"vendor", "texts"} & set(path.parts))
    families = set(re.findall(r"`([a-z]+)\.\$\{", source))

    def is_used(key: str) -> bool:
        stem = re.sub(r"\.(one|other)$", "", key)
        return (
            f'"{stem}"' in source or key.partition(".")[0] in families or (key.endswith("-text") and "-text`" in source)
        )

    assert [key for key in texts(repository, "en") if not is_used(key)] == []


def test_the_page_is_shown_in_the_language_that_was_chosen(page: Chrome, eventually: Eventually) -> None:
    try:
        set_field(page, "#language", "de")
        eventually(lambda: text_of(page, "#badge") == "Läuft", what="the badge in German")
        assert page.execute_script("return document.documentElement.lang") == "de"
        eventually(lambda: text_of(page, "#step") == "4.200", what="the number as it is written in German")
        eventually(lambda: text_of(page, "#quality") == "0,6977", what="the decimal comma")
        assert text_of(page, "#validate") == "Validieren"
        assert text_of(page, "#finish").startswith("fertig ")
    finally:
        page.execute_script("localStorage.clear()")


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_text_says_something(repository: Path, language: str) -> None:
    assert [key for key, text in texts(repository, language).items() if not text.strip()] == []
