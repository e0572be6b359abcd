"""The architecture's laws about imports, read from the source: who may know whom."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("service", "ddp", "api")
MODULES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))

FORBIDDEN = {
    "service": {"ddp", "api", "torch", "flask", "numpy", "PIL", "av", "gunicorn", "prometheus_client", "werkzeug"},
    "api": {"ddp", "torch", "numpy", "PIL", "av"},
    "ddp": {"api", "flask", "gunicorn", "prometheus_client", "werkzeug"},
}
"""Top-level packages that no module of a folder may import, at the top or inside a function."""

REGISTERING = {"service/cli/__init__.py", "api/routes/run/commands.py"}
"""Modules with a loop that adds commands or routes to a group of their own, as a decorator would."""


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


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_world_knows_process_groups(path: Path) -> None:
    if label(path) != "ddp/distributed/world.py":
        assert not [module for module in imported(path) if within(module, "torch.distributed")]


@pytest.mark.parametrize("path", sorted((ROOT / "ddp" / "vsr").rglob("*.py")), ids=label)
def test_the_workload_knows_nothing_of_the_trainer(path: Path) -> None:
    """But for the seam itself, `ddp.workload`: what a workload has to be, without behaviour."""
    ours = {module for module in imported(path) if within(module, "ddp")} - {"ddp", "ddp.vsr", "ddp.workload"}

    assert not {module for module in ours if not within(module, "ddp.vsr") and not within(module, "ddp.workload")}


@pytest.mark.parametrize("path", MODULES, ids=label)
def test_only_one_package_reads_the_environment_of_ranks(path: Path) -> None:
    if label(path) in {"ddp/distributed/environment.py", "ddp/distributed/world.py"}:
        return
    names = {node.value for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Constant)}

    assert not names & {"RANK", "WORLD_SIZE", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"}


@pytest.mark.parametrize("path", [path for path in MODULES if path.name != "__main__.py"], ids=label)
def test_nothing_happens_on_import(path: Path) -> None:
    """At the top of a module there are definitions and values, never a bare call or a loop over the world."""
    for node in ast.parse(path.read_text()).body:
        is_docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        is_registration = label(path) in REGISTERING and isinstance(node, ast.For)
        is_guard = isinstance(node, ast.If) and "__name__" in ast.dump(node.test)
        allowed = (ast.Import, ast.ImportFrom, ast.Assign, ast.AnnAssign, ast.FunctionDef, ast.ClassDef)
        assert isinstance(node, allowed) or is_docstring or is_registration or is_guard, ast.unparse(node)


def test_the_command_line_loads_neither_torch_nor_flask() -> None:
    program = "import service.cli, sys; print(sorted({'torch', 'flask', 'numpy', 'ddp', 'api'} & set(sys.modules)))"

    answer = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)

    assert answer.stdout == "[]\n"
