"""What happened to a run, as German sentences: those of the dashboard, word for word.

`TEXTS` has those of the dashboard's keys and texts (api/static/texts/de.js) that a report needs; a test compares them.
Reasons that the trainer wrote, and sentences of alerts, stay as they are.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

TEXTS: Mapping[str, str] = {
    "command.validate": "Validieren",
    "command.pause": "Pause",
    "command.resume": "Fortsetzen",
    "command.preview": "Vorschau",
    "command.checkpoint": "Sichern",
    "command.stop": "Beenden",
    "command.set": "Ändern",
    "command.rollback": "Zurückgehen",
    "outcome.done": "ausgeführt",
    "outcome.failed": "gescheitert",
    "outcome.rejected": "abgelehnt",
    "outcome.expired": "abgelaufen",
    "outcome.cancelled": "abgebrochen",
    "event.started-on": "Gestartet auf {ranks}",
    "event.resumed-on": "Fortgesetzt auf {ranks}",
    "event.ranks.one": "einem Rang",
    "event.ranks.other": "{count} Rängen",
    "event.record": "Datensatz {name} ({trigger})",
    "event.record-quality": "Datensatz {name}, Qualität {quality} ({trigger})",
    "event.asked-by": ", von {actor}",
    "event.checkpoint": "Checkpoint {checkpoint} gespeichert",
    "event.checkpoint-failed": "Checkpoint {checkpoint} konnte nicht geschrieben werden",
    "event.rollback": "Zurückgegangen auf {checkpoint}",
    "event.a-checkpoint": "einen Checkpoint",
    "event.set": "Geändert: {changes}",
    "event.paused": "Pausiert",
    "event.resumed": "Weiter nach einer Pause",
    "event.mode": "Regelung: {before} → {after}",
    "event.mode-reason": "Die Regelung wechselte ihren Modus",
    "event.slow-rank": "Rang {rank} ist langsamer als die anderen",
    "event.no-slow-rank": "Alle Ränge sind wieder gleich schnell",
    "event.not-finite": "Übersprungen, weil Verlust oder Gradient nicht endlich war: Schritt {steps}",
    "event.alert-undelivered": "Der Alarm {name} erreicht {receiver} nicht",
    "event.left-out": "Aus den Daten ausgelassen: {files}",
    "event.data-changed": "Andere Daten als zuvor: {sets}",
    "event.data-set": "Satz {set}, {before} → {now}",
    "event.skipped": "Bilder, die nicht lesbar waren: {images}",
    "event.described": "{actor} schrieb zum Lauf: {changes}",
}

Details = Mapping[str, Any]


def german_sentence(kind: str, details: Details) -> str:
    """Return what an entry of the event log says, in German; details of another shape than expected as they are."""
    try:
        return _sentence(kind, details)
    except (AttributeError, TypeError, ValueError):  # an event of another version, or of another program
        return f"{_capital(kind)}: {_pairs(details)}" if details else _capital(kind)


def _sentence(kind: str, details: Details) -> str:
    reason = f": {details['reason']}" if details.get("reason") else ""
    if kind == "alert":
        return str(details.get("sentence", ""))
    if kind == "command":
        return _command(details) + reason
    if kind in _OF_KIND:
        return _OF_KIND[kind](details) + reason
    text = TEXTS.get(f"event.{kind.replace(' ', '-')}")
    if text is not None:
        return text.format(checkpoint=details.get("checkpoint") or TEXTS["event.a-checkpoint"]) + reason
    return f"{_capital(kind)}{reason or (f': {_pairs(details)}' if details else '')}"


def _command(details: Details) -> str:
    kind, state, given = details.get("kind") or "command", details.get("state"), details.get("arguments")
    name = _capital(TEXTS.get(f"command.{kind}", kind))
    what = f" ({_pairs(given)})" if given else ""
    outcome = TEXTS.get(f"outcome.{state}", str(state))
    actor = TEXTS["event.asked-by"].format(actor=details["actor"]) if details.get("actor") else ""
    why = f" – {details['why']}" if details.get("why") else ""
    return f"{name}{what} {outcome}{actor}{why}"


def _started(details: Details) -> str:
    count = details.get("world_size") or 1
    ranks = TEXTS[f"event.ranks.{'one' if count == 1 else 'other'}"].format(count=count)
    return TEXTS["event.resumed-on" if details.get("step") else "event.started-on"].format(ranks=ranks)


def _record(details: Details) -> str:
    quality = details.get("quality_ki_value")
    key = "event.record" if quality is None else "event.record-quality"
    shown = "" if quality is None else f"{quality:.4f}".replace(".", ",")
    return TEXTS[key].format(name=details.get("name"), trigger=details.get("trigger"), quality=shown)


def _slow_rank(details: Details) -> str:
    rank = details.get("rank")
    return TEXTS["event.no-slow-rank" if rank is None else "event.slow-rank"].format(rank=rank)


def _described(details: Details) -> str:
    changes = {name: details[name] for name in ("name", "note") if name in details}
    return TEXTS["event.described"].format(actor=details.get("actor"), changes=_pairs(changes))


def _mode(details: Details) -> str:
    after = details.get("after")
    if not after:
        return TEXTS["event.mode-reason"]
    return TEXTS["event.mode"].format(before=details.get("before"), after=after)


def _data_changed(details: Details) -> str:
    sets = [
        TEXTS["event.data-set"].format(
            set=name, before=_whole(change.get("count_before")), now=_whole(change.get("count_now"))
        )
        for name, change in details.items()
    ]
    return TEXTS["event.data-changed"].format(sets="; ".join(sets))


_OF_KIND: Mapping[str, Callable[[Details], str]] = {
    "started": _started,
    "record": _record,
    "slow rank": _slow_rank,
    "not finite": lambda details: TEXTS["event.not-finite"].format(steps=_listed(details.get("steps"), _whole)),
    "left out": lambda details: TEXTS["event.left-out"].format(files=_listed(details.get("files"), str)),
    "skipped": lambda details: TEXTS["event.skipped"].format(images=_listed(details.get("images"), str)),
    "alert undelivered": lambda details: TEXTS["event.alert-undelivered"].format(
        name=details.get("name"), receiver=details.get("receiver")
    ),
    "described": _described,
    "set": lambda details: TEXTS["event.set"].format(changes=_pairs(details)),
    "mode": _mode,
    "data changed": _data_changed,
}
"""Kinds whose text needs more than the details as they are."""


def _listed(values: Any, text_of: Callable[[Any], str]) -> str:
    return ", ".join(map(text_of, values if isinstance(values, list) else [values]))


def _whole(value: Any) -> str:
    return f"{value:,}".replace(",", ".") if isinstance(value, int) else str(value)


def _pairs(details: Details) -> str:
    return ", ".join(f"{name} {_plain(value)}" for name, value in details.items())


def _plain(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace('"', "")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
