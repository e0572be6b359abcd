"""Names in paths that mean harm: no route opens anything for them outside the run directory, and none breaks."""

import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from werkzeug.routing import Rule

from api.app import create_app
from service.config.settings import RunConfig
from service.store.store import Store
from tests.api.harness.checkpoints import write_checkpoint
from tests.api.harness.example_run import RUN_ID

SECRET = "SECRET-OUTSIDE"
REPOSITORY = Path(__file__).parents[4]
PROGRAM = [
    place.resolve()
    for place in (REPOSITORY, *map(Path, (sys.prefix, sys.base_prefix, "/usr", "/dev", "/proc", "/etc/mime.types")))
]
"""Where the program itself lies, and what Python and SQLite look at on their own."""

NAMES = {
    "up": "../outside.txt",
    "up, encoded": "%2e%2e/outside.txt",
    "up, all encoded": "%2e%2e%2foutside.txt",
    "up, encoded twice": "%252e%252e%252foutside.txt",
    "far up": "../" * 12 + "etc/passwd",
    "up in the middle": "Statistik_700.json/../../outside.txt",
    "absolute": "/etc/passwd",
    "absolute, encoded": "%2fetc%2fpasswd",
    "backslashes": "..\\outside.txt",
    "backslashes, encoded": "..%5coutside.txt",
    "a drive": "C:%5cWindows%5cwin.ini",
    "two dots": "..",
    "one dot": ".",
    "a blank": "%20",
    "NUL": "%00",
    "NUL at the end": "Statistik_700.json%00",
    "NUL before another end": "..%2foutside.txt%00.json",
    "a new line": "Statistik_700.json%0a",
    "a tab": "%09",
    "wide full stops": quote("．．／outside.txt"),
    "overlong UTF-8": "%c0%ae%c0%ae%c0%afoutside.txt",
    "no UTF-8": "%ff%fe",
    "a turned direction": quote("\u202egnp.700"),
    "Arabic digits": quote("Statistik_٧٠٠.json"),
    "a surrogate": "%ed%a0%80",
    "an emoji": quote("🚂"),
    "a home": "~root",
    "a variable": "$HOME",
    "a pattern": "*",
    "a temporary file": ".tmp-Statistik_700.json",
    "the store": "leitstand.db",
    "a link out of the directory": "link.json",
    "a quote for SQL": quote("' or '1'='1"),
    "a format": "%25s%25n{0.__class__}",
    "a minus": "-1",
    "a huge number": "9" * 400,
    "10 kB": "a" * 10_000,
    "10 kB of going up": "../" * 3_400,
}


@pytest.fixture
def trap(root: Path, store: Store) -> Iterator[list[Path]]:
    """A secret beside the run directory with a link to it, and what has been opened or listed meanwhile."""
    (root.parent / "outside.txt").write_text(SECRET)
    (root / "link.json").symlink_to(root.parent / "outside.txt")
    write_checkpoint(root, 700)
    create_app(RunConfig(data_root=root)).test_client().get("/state")  # what watches all answers prepares itself
    touched: list[Path] = []
    _touched.append(touched)
    yield touched
    _touched.remove(touched)


_touched: list[list[Path]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if _touched and event in {"open", "os.listdir", "os.scandir", "sqlite3.connect"}:
        place = arguments[0]
        if isinstance(place, str | bytes | Path):
            _touched[-1].append(Path(place.decode() if isinstance(place, bytes) else place))


@pytest.fixture(scope="module", autouse=True)
def _watch() -> None:
    """Python tells of every file that it opens; it cannot be asked to stop, so later `_note` returns at once."""
    sys.addaudithook(_note)


def paths_with_names(app_rules: Iterator[Rule]) -> list[tuple[str, str]]:
    """Method and pattern of every route that takes something from its path; the page shows the same whatever it is."""
    return sorted(
        (method, rule.rule)
        for rule in app_rules
        if "<" in rule.rule and not rule.endpoint.endswith("page.index")
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    )


def filled(pattern: str, name: str) -> list[str]:
    """The pattern with this name in each of its places, one at a time, and what exists in the others."""
    known = {"run": RUN_ID, "name": "Statistik_700.json", "command_id": "0" * 32, "rank": "0", "step": "700"}
    places = [part.rpartition(":")[2] for part in _places(pattern)]
    paths = []
    for hostile in places:
        path = pattern
        for part, place in zip(_places(pattern), places, strict=True):
            path = path.replace(f"<{part}>", name if place == hostile else known.get(place, "dashboard.js"))
        paths.append(path)
    return paths


def _places(pattern: str) -> list[str]:
    return [piece.partition(">")[0] for piece in pattern.split("<")[1:]]


def is_inside(place: Path, root: Path) -> bool:
    """Whether a file belongs to the run or the program; what a link leads to counts."""
    real = place.resolve()
    return real.is_relative_to(root.resolve()) or any(real.is_relative_to(part) for part in PROGRAM)


@pytest.mark.parametrize("name", NAMES)
def test_no_name_in_a_path_leads_outside_or_breaks_a_route(
    root: Path, store: Store, trap: list[Path], name: str
) -> None:
    app = create_app(RunConfig(data_root=root, api_commands_per_minute=10**6, api_reads_per_minute=10**6))
    client = app.test_client()
    routes = paths_with_names(app.url_map.iter_rules())
    assert len(routes) >= 20

    fine = {(status, False) for status in (400, 404, 405, 422)}
    answers = {}
    for method, pattern in routes:
        for path in filled(pattern, NAMES[name]):
            with client.open(path, method=method) as answer:
                answers[method, path[:200]] = (answer.status_code, SECRET in answer.get_data(as_text=True))

    assert {asked: given for asked, given in answers.items() if given not in fine} == {}
    assert [place for place in trap if not is_inside(place, root)] == []
    assert [command for command in store.commands.find(RUN_ID) if command.kind != "validate"] == []
