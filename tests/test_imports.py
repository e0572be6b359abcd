"""The architecture's laws about packages and imports, read from the source: who may know whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from service.cli import leitstand

ROOT = Path(__file__).parents[1]
PACKAGES = ("service", "ddp", "api")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
SERVED = sorted(path for path in (ROOT / "api/static").rglob("*") if path.is_dir())
SCRIPTS = sorted(path for path in (ROOT / "api/static").rglob("*.js") if not {"vendor", "texts"} & set(path.parts))
"""The page's own scripts, without its texts: those are one file a language."""

EXAMPLES = sorted((ROOT / "examples").rglob("*.py"))
BENCHMARKS = sorted((ROOT / "bench").rglob("*.py"))

FORBIDDEN = {
    "service": {"ddp", "api", "torch", "flask", "numpy", "PIL", "av", "gunicorn", "prometheus_client", "werkzeug"},
    "api": {"ddp", "torch", "numpy", "PIL", "av"},
    "ddp": {"api", "flask", "gunicorn", "prometheus_client", "werkzeug"},
}
"""Top-level packages that no module of a folder may import, at the top or inside a function."""

ORDER = {
    "service": (
        "service", "service.errors", "service.atomic_files", "service.api_types", "service.loss_terms",
        "service.background_thread", "service.config", "service.commands", "service.run", "service.store.tables",
        "service.store.schema_upgrade", "service.store.backends",
        "service.store.database", "service.store.rollups", "service.store.queries", "service.store", "service.alerts",
        "service.auth", "service.client", "service.launcher",
        "service.cli.options", "service.cli.server_options", "service.cli.text_table", "service.cli.events",
        "service.cli.watch", "service.cli",
    ),
    "ddp": (
        "ddp.checkpoint.shipped", "ddp.workload", "ddp.vsr.unreadable", "ddp.vsr.pictures", "ddp.vsr.contact_sheet",
        "ddp.vsr.prepare", "ddp.vsr.networks.alignment", "ddp.vsr.networks", "ddp.vsr",
        "ddp.adaptive", "ddp.distributed", "ddp.metrics", "ddp.watchdog", "ddp.step", "ddp.validation",
        "ddp.checkpoint", "ddp.control", "ddp.recording.trackers", "ddp.recording", "ddp.training", "ddp.inference",
        "ddp.__main__",
    ),
    "api": (
        "api.http", "api.artifacts", "api.artifacts.records", "api.runs", "api.alerts", "api.events", "api.commands",
        "api.metrics.http_stats", "api.metrics.definition", "api.metrics.families", "api.metrics", "api.openapi",
        "api.routes.run", "api.routes", "api.app", "api.server",
    ),
}  # fmt: skip
"""Packages, and modules beside them, from the lowest to the highest: each may import from itself and from those before.

A name stands for everything below it that has no entry of its own.
"""

NEVER = {
    "api.http": {"service.store.queries", "service.store.store", "service.run"},
    "api.metrics.families": {"service.store.store", "sqlalchemy"},
    "ddp.adaptive": {"torch", "numpy", "time", "random"},
    "ddp.distributed": {"service.config", "service.store", "service.run", "service.commands"},
    "service.alerts.rules": {"time", "sqlalchemy", "threading"},
    "service.config": {"sqlalchemy", "requests"},
    "service.run": {"sqlalchemy", "requests"},
}
"""What packages say of themselves: a module within may import none of these, nor anything below them."""

MAX_ENTRIES = 14
"""Files and folders in one folder, `__init__.py` left out: more are not taken in at a glance."""

MAX_SCRIPT_LINES = 300
"""Lines of one script of the page, as of a module."""

REGISTERING = {"api/routes/run/commands.py"}
"""Modules with a loop that adds routes to a group of their own, as a decorator would."""

HAND_ON = {"service/__init__.py", "service/client/__init__.py", "service/cli/__init__.py"}
"""Packages that hold more than a docstring: the version, `Client` for scripts, the command line's entry."""


def imported(path: Path) -> Iterator[str]:
    """Every module that a file imports anywhere, `from a import b` as both `a` and `a.b`."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            yield str(node.module)
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def within(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def label(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_there_are_modules_of_all_packages() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in MODULES} == set(PACKAGES)


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_imports_point_down(path: Path) -> None:
    forbidden = FORBIDDEN[path.relative_to(ROOT).parts[0]]

    assert not {module for module in imported(path) if module.partition(".")[0] in forbidden}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT).with_suffix("")).replace("/", ".").removesuffix(".__init__")


NAMES = {name_of(path) for path in MODULES}


def imported_modules(path: Path) -> set[str]:
    """Our modules that a file imports: of `a.b.C` the module `a.b`, of `a.b` the package that hands it on."""
    found = {module for module in imported(path) if module in NAMES}
    return (
        found - {module for module in found if any(other.startswith(f"{module}.") for other in found)} - {name_of(path)}
    )


def place_of(module: str) -> tuple[str, int]:
    """The top-level package of a module, and its place in the package's order."""
    top = module.partition(".")[0]
    entries = [entry for entry in ORDER[top] if within(module, entry) and (entry != top or module == top)]
    assert entries, f"{module} has no place in ORDER"
    return top, ORDER[top].index(max(entries, key=len))


@pytest.mark.parametrize("path", [path for path in MODULES if name_of(path) not in {"ddp", "api"}], ids=label)
def test_imports_point_down_between_packages(path: Path) -> None:
    top, own = place_of(name_of(path))
    others = {module: place_of(module) for module in imported_modules(path) if within(module, top)}

    assert {module for module, (_, place) in others.items() if place > own} == set()


@pytest.mark.parametrize("package", NEVER)
def test_a_package_keeps_its_word(package: str) -> None:
    paths = [path for path in MODULES if within(name_of(path), package)]
    assert paths

    found = {(label(path), module) for path in paths for module in imported(path)}
    assert {pair for pair in found if any(within(pair[1], never) for never in NEVER[package])} == set()


def test_the_order_names_only_what_is_there() -> None:
    assert [entry for entries in ORDER.values() for entry in entries if entry not in NAMES] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {name_of(path): imported_modules(path) for path in MODULES}

    assert len(list(TopologicalSorter(graph).static_order())) >= len(MODULES)


@pytest.mark.parametrize(
    "folder",
    [*sorted({path.parent for path in [*MODULES, *BENCHMARKS]}), ROOT / "api/static", *SERVED],
    ids=label,
)
def test_a_folder_is_taken_in_at_a_glance(folder: Path) -> None:
    entries = {entry.name for entry in folder.iterdir()} - {"__init__.py", "__pycache__"}

    assert len(entries) <= MAX_ENTRIES


@pytest.mark.parametrize("path", SCRIPTS, ids=label)
def test_a_script_of_the_page_is_no_longer_than_a_module(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_SCRIPT_LINES


@pytest.mark.parametrize("path", [path for path in MODULES if path.name == "__init__.py"], ids=label)
def test_a_package_says_what_lives_in_it_and_what_never_may(path: Path) -> None:
    """And holds no code, but for the client that scripts import and the entry of the command line."""
    tree = ast.parse(path.read_text())
    text = ast.get_docstring(tree) or ""

    assert "Never" in text or "never" in text
    if label(path) not in HAND_ON:
        assert len(tree.body) == 1


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_world_and_the_stores_know_process_groups(path: Path) -> None:
    if label(path) not in {"ddp/distributed/world.py", "ddp/distributed/stores.py"}:
        assert not [module for module in imported(path) if within(module, "torch.distributed")]


@pytest.mark.parametrize("path", sorted([*(ROOT / "ddp" / "vsr").rglob("*.py"), *EXAMPLES]), ids=label)
def test_the_workload_knows_nothing_of_the_trainer(path: Path) -> None:
    """But for the seam itself, `ddp.workload`: what a workload has to be, without behaviour."""
    ours = {module for module in imported(path) if within(module, "ddp")} - {"ddp", "ddp.vsr", "ddp.workload"}

    assert not {module for module in ours if not within(module, "ddp.vsr") and not within(module, "ddp.workload")}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_three_modules_know_the_environment_of_ranks(path: Path) -> None:
    known = {"ddp/distributed/environment.py", "ddp/distributed/stores.py", "service/launcher/machines/tasks.py"}
    if label(path) in known:
        return
    names = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}

    assert not names & {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__main__.py"], ids=label)
def test_nothing_happens_on_import(path: Path) -> None:
    """At the top of a module there are definitions and values, never a bare call or a loop over the world."""
    for node in ast.parse(path.read_text()).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_registration = label(path) in REGISTERING and isinstance(node, ast.For)
        is_guard = isinstance(node, ast.If) and ast.unparse(node.test) in {"__name__ == '__main__'", "TYPE_CHECKING"}
        allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
        assert isinstance(node, allowed) or is_docstring or is_registration or is_guard, ast.unparse(node)


def loaded_by(program: str, packages: set[str]) -> set[str]:
    """Those of `packages` that a program leaves imported in a fresh interpreter."""
    program += f"; import sys; print(*sorted({packages!r} & set(sys.modules)))"
    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return set(answer.stdout.split())


def loading(*names: str) -> str:
    """A program that loads these commands of the command line."""
    return f"from service.cli import leitstand; [leitstand.commands[name] for name in {names!r}]"


def test_no_command_of_the_command_line_loads_torch_or_flask() -> None:
    assert loaded_by(loading(*leitstand.commands), {"torch", "flask", "numpy", "ddp", "api"}) == set()


def test_asking_a_server_does_not_wait_for_the_database_nor_starting_a_program_for_http() -> None:
    packages = {"sqlalchemy", "requests"}

    assert loaded_by("import service.cli", packages) == set()
    assert loaded_by(loading("state", "validate", "events", "series", "stats", "watch"), packages) == {"requests"}
    assert loaded_by(loading(*leitstand.commands), {"textual", "rich"}) == set()
    assert loaded_by(loading("train", "serve", "prepare", "token"), packages) == set()
    assert loaded_by(loading("up", "doctor"), packages) == {"sqlalchemy"}
