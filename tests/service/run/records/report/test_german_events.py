"""Events of a report in German: the dashboard's sentences, and no other."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from service.commands import CommandState, Kind
from service.run.records.report.german_events import TEXTS, german_sentence

PAGE = Path(__file__).resolve().parents[5] / "api" / "static" / "texts"
_ENTRY = re.compile(r'^  ("(?:[^"\\]|\\.)*"): ("(?:[^"\\]|\\.)*"),$', re.MULTILINE)


def texts_of_the_page(language: str) -> dict[str, str]:
    found = _ENTRY.findall((PAGE / f"{language}.js").read_text())
    return {json.loads(key): json.loads(text) for key, text in found}


def test_every_text_of_an_event_is_the_dashboards_and_none_is_missing() -> None:
    page = texts_of_the_page("de")
    final = {f"outcome.{state}" for state in CommandState if state.is_final}
    needed = {key for key in page if key.startswith("event.")} | final | {f"command.{kind}" for kind in Kind}

    assert {key: page[key] for key in needed if key in page} == TEXTS


@pytest.mark.parametrize(
    ("kind", "details", "sentence"),
    [
        ("started", {"step": 0, "world_size": 1}, "Gestartet auf einem Rang"),
        ("started", {"step": 500, "world_size": 4}, "Fortgesetzt auf 4 Rängen"),
        ("checkpoint", {"checkpoint": "step_0000500"}, "Checkpoint step_0000500 gespeichert"),
        ("rollback", {"from_step": 900, "checkpoint": "step_0000500", "reason": "command of anna"},
         "Zurückgegangen auf step_0000500: command of anna"),
        ("slow rank", {"rank": None}, "Alle Ränge sind wieder gleich schnell"),
        ("not finite", {"steps": [1200, 1201]},
         "Übersprungen, weil Verlust oder Gradient nicht endlich war: Schritt 1.200, 1.201"),
        ("set", {"LR_SCALE": 0.5, "LOG_EVERY": 10}, "Geändert: LR_SCALE 0.5, LOG_EVERY 10"),
        ("mode", {"before": "Stable", "after": "Aggressive", "reason": "plateau"},
         "Regelung: Stable → Aggressive: plateau"),
        ("data changed", {"training": {"count_before": 1000, "count_now": 1200}},
         "Andere Daten als zuvor: Satz training, 1.000 → 1.200"),
        ("data changed", {"training": None}, "Data changed: training null"),
        ("command", {"kind": "set", "state": "done", "actor": "anna", "why": "slow", "arguments": {"LR_SCALE": 0.5}},
         "Ändern (LR_SCALE 0.5) ausgeführt, von anna – slow"),
        ("alert", {"sentence": "The disk is full."}, "The disk is full."),
        ("made up later", {"a": 1.0, "b": "c"}, "Made up later: a 1, b c"),
    ],
)  # fmt: skip
def test_an_event_is_a_german_sentence(kind: str, details: dict[str, Any], sentence: str) -> None:
    assert german_sentence(kind, details) == sentence
