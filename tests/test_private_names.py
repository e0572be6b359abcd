"""Tests touch no private names: they would have to change with what nobody else can see."""

import ast
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "tests").rglob("*.py"))

PUBLIC_NEVERTHELESS = {"_asdict", "_exit", "_fields", "_make", "_mapping", "_replace"}
"""Documented names: of `os`, of named tuples, of rows of a query. Their underscore only keeps them apart."""

ALLOWED = {
    "torch has no public name for what its compiler did, nor for the hooks on a module": {
        "tests/ddp/step/test_stepper.py": Counter(_dynamo=2),
        "tests/ddp/validation/test_layer_activity.py": Counter(_forward_hooks=1),
    },
    "the published network shows its layers only so": {
        "tests/ddp/vsr/test_perceptual.py": Counter(_blocks=1, _bn1=1, _conv_head=1, _fc=1),
    },
}
"""Touches by reason and file. Ours are none: a constructor's argument, a property or the visible effect does it."""

BY_NAME = {"attrgetter", "delattr", "getattr", "hasattr", "object", "patch", "setattr"}
"""Functions that are given the name of what they touch."""


def is_private(name: str) -> bool:
    return name.startswith("_") and not name.startswith("__") and name not in PUBLIC_NEVERTHELESS and name != "_"


def named(call: ast.Call) -> Iterator[str]:
    """The names that a call touches: `setattr(thing, "_x", …)`, `monkeypatch.setattr("module._x", …)`."""
    function = call.func
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    for argument in call.args[:2] if name in BY_NAME else ():
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str):
            yield argument.value.rpartition(".")[2]


def touched(tree: ast.AST) -> Iterator[str]:
    """The private names that a module touches, but for those of `self` and `cls`, which are its own."""
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Attribute) and getattr(node.value, "id", "") not in {"self", "cls"}:
            names = [node.attr]
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = (alias.name for alias in node.names)
            names = [part for name in (getattr(node, "module", None) or "", *modules) for part in name.split(".")]
        elif isinstance(node, ast.Call):
            names = [*named(node)]
        yield from filter(is_private, names)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("store._engine.dispose()", ["_engine"]),
        ("from ddp.vsr.sample_stream import _mix, sample_at", ["_mix"]),
        ("import api._wait", ["_wait"]),
        ('monkeypatch.setattr(wait, "_slots", 1)', ["_slots"]),
        ('monkeypatch.setattr("api.commands.wait._slots", 1)', ["_slots"]),
        ('getattr(store, "_engine")', ["_engine"]),
        ('mock.patch.object(wait, "_slots")', ["_slots"]),
        ("type(it)._count += 1", ["_count"]),
        ("self._count, cls._count, _own, it.__dict__, row._asdict(), os._exit(1)", []),
        ('write("_name"); setattr(it, "name", "_value"); from . import _', []),
    ],
)
def test_a_private_name_is_seen_however_it_is_touched(text: str, names: list[str]) -> None:
    assert [*touched(ast.parse(text))] == names


def test_tests_touch_no_private_names() -> None:
    found = {str(path.relative_to(ROOT)): Counter(touched(ast.parse(path.read_text()))) for path in MODULES}
    allowed = {path: names for files in ALLOWED.values() for path, names in files.items()}

    assert {path: names for path, names in found.items() if names} == allowed
