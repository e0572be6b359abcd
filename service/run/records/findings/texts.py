"""What findings say, in English and German: sentences of what was seen, and of what to do."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

Language = Literal["en", "de"]
Sentence = Callable[[int, int, Mapping[str, Any]], str]


def _records(count: int) -> str:
    return "1 record" if count == 1 else f"{count} successive records"


def _records_de(count: int) -> str:
    return "1 Datensatz" if count == 1 else f"{count} Datensätzen hintereinander"


def _slow_rank(first: int, last: int, facts: Mapping[str, Any]) -> str:  # noqa: ARG001 - a sentence's signature
    how = f", whose own work took {facts['slowness']:.1f} times the median" if facts["slowness"] else ""
    return f"All ranks waited for rank {facts['rank']}{how}, in {_records(facts['count'])}."


def _slow_rank_de(first: int, last: int, facts: Mapping[str, Any]) -> str:  # noqa: ARG001 - a sentence's signature
    how = f", dessen eigene Arbeit das {facts['slowness']:.1f}-Fache des Medians dauerte" if facts["slowness"] else ""
    return f"Alle Ranks warteten auf Rank {facts['rank']}{how}, in {_records_de(facts['count'])}."


_ENGLISH: Mapping[str, Sentence] = {
    "plateau": lambda first, last, facts: (
        f"No validation was better than the {facts['best']:.4f} of step {first} for {last - first} steps."
    ),
    "regression": lambda _first, _last, facts: (
        f"Quality fell to {facts['worst']:.4f} at step {facts['worst_step']}, from {facts['best']:.4f} at step "
        f"{facts['best_step']}; successive validations differ by {facts['spread']:.4f}."
    ),
    "boost-helped": lambda first, _last, facts: (
        f"A boost of the learning rate began by step {first}; quality rose from {facts['best']:.4f} at step "
        f"{facts['best_step']} to {facts['later']:.4f} at step {facts['later_step']}."
    ),
    "boost-no-help": lambda first, last, facts: (
        f"A boost of the learning rate began by step {first}; up to step {last} quality reached {facts['later']:.4f}, "
        f"after {facts['best']:.4f} at step {facts['best_step']}."
    ),
    "gap": lambda first, last, facts: (
        f"There is no record between the steps {first} and {last}; usually there is one every {facts['usual']:g} steps."
    ),
    "not-finite": lambda _first, _last, facts: f"{facts['keys']}: not finite in {_records(facts['count'])}.",
    "skipped-steps": lambda _first, _last, facts: (
        f"{facts['count']} steps were skipped, since a loss or gradient was not finite."
    ),
    "anomaly": lambda _first, _last, facts: (
        f"{facts['key']} was {facts['value']:.4g}, where the records around it have {facts['usual']:.4g}."
    ),
    "slow-rank": _slow_rank,
    "starved": lambda _first, _last, facts: (
        f"The ranks spent up to {facts['share']:.0%} of their time waiting for data, in {_records(facts['count'])}."
    ),
    "other-images": lambda first, last, _facts: f"Between the steps {first} and {last} the validation images changed.",
}

_GERMAN: Mapping[str, Sentence] = {
    "plateau": lambda first, last, facts: (
        f"Keine Validierung war besser als die {facts['best']:.4f} von Schritt {first}, seit {last - first} Schritten."
    ),
    "regression": lambda _first, _last, facts: (
        f"Die Qualität fiel auf {facts['worst']:.4f} bei Schritt {facts['worst_step']}, von {facts['best']:.4f} bei "
        f"Schritt {facts['best_step']}; aufeinanderfolgende Validierungen unterscheiden sich um {facts['spread']:.4f}."
    ),
    "boost-helped": lambda first, _last, facts: (
        f"Bis Schritt {first} begann eine Anhebung der Lernrate; die Qualität stieg von {facts['best']:.4f} bei "
        f"Schritt {facts['best_step']} auf {facts['later']:.4f} bei Schritt {facts['later_step']}."
    ),
    "boost-no-help": lambda first, last, facts: (
        f"Bis Schritt {first} begann eine Anhebung der Lernrate; bis Schritt {last} erreichte die Qualität "
        f"{facts['later']:.4f}, nach {facts['best']:.4f} bei Schritt {facts['best_step']}."
    ),
    "gap": lambda first, last, facts: (
        f"Zwischen den Schritten {first} und {last} gibt es keinen Datensatz; sonst alle {facts['usual']:g} Schritte."
    ),
    "not-finite": lambda _first, _last, facts: f"{facts['keys']}: nicht endlich in {_records_de(facts['count'])}.",
    "skipped-steps": lambda _first, _last, facts: (
        f"{facts['count']} Schritte wurden übersprungen, weil ein Loss oder Gradient nicht endlich war."
    ),
    "anomaly": lambda _first, _last, facts: (
        f"{facts['key']} war {facts['value']:.4g}; die Datensätze ringsum haben {facts['usual']:.4g}."
    ),
    "slow-rank": _slow_rank_de,
    "starved": lambda _first, _last, facts: (
        f"Die Ranks warteten bis zu {facts['share']:.0%} der Zeit auf Daten, in {_records_de(facts['count'])}."
    ),
    "other-images": lambda first, last, _facts: (
        f"Zwischen den Schritten {first} und {last} wechselten die Validierungsbilder."
    ),
}

EVIDENCE: Mapping[Language, Mapping[str, Sentence]] = {"en": _ENGLISH, "de": _GERMAN}

ADVICE: Mapping[Language, Mapping[str, str]] = {
    "en": {
        "plateau": "Lower the learning rate (`leitstand set LR_SCALE=0.5`), or end the run and use the best "
        "checkpoint.",
        "regression": "See what changed after step {best_step} (`leitstand commands`, training.log); `leitstand "
        "rollback best` goes back.",
        "boost-helped": "Nothing to do.",
        "boost-no-help": "If the next one does not help either, lower the learning rate, or end the run.",
        "gap": "If none was pruned, look for failed validations or a full disk at that time in training.log.",
        "not-finite": "Go back to a checkpoint before it at a lower learning rate; bfloat16 in place of float16 helps "
        "too.",
        "skipped-steps": "A few are harmless; if they go on, lower the learning rate, and look for broken images in "
        "the data.",
        "anomaly": "One is harmless; several of losses or gradients call for a lower clip or learning rate, slow steps "
        "for a look at the machine.",
        "slow-rank": "See what else runs on its machine, and its GPU's clock and temperature (`nvidia-smi -q -d "
        "PERFORMANCE`).",
        "starved": "Raise NUM_WORKERS, or move the patches to a faster disk.",
        "other-images": "Compare qualities only on the same side of it.",
    },
    "de": {
        "plateau": "Die Lernrate senken (`leitstand set LR_SCALE=0.5`), oder den Lauf beenden und den besten "
        "Checkpoint verwenden.",
        "regression": "Nachsehen, was sich nach Schritt {best_step} änderte (`leitstand commands`, training.log); "
        "`leitstand rollback best` geht zurück.",
        "boost-helped": "Nichts zu tun.",
        "boost-no-help": "Hilft auch die nächste nicht, die Lernrate senken oder den Lauf beenden.",
        "gap": "Wurde keiner ausgedünnt: in training.log nach gescheiterten Validierungen oder einer vollen Platte zu "
        "dieser Zeit suchen.",
        "not-finite": "Zu einem Checkpoint davor zurückgehen und die Lernrate senken; auch bfloat16 statt float16 "
        "hilft.",
        "skipped-steps": "Einige schaden nicht; geht es weiter, die Lernrate senken und nach kaputten Bildern in den "
        "Daten suchen.",
        "anomaly": "Einzelne schaden nicht; häufen sie sich bei Loss oder Gradient, Clip oder Lernrate senken, bei "
        "langsamen Schritten nach der Maschine sehen.",
        "slow-rank": "Nachsehen, was sonst auf seiner Maschine läuft, und Takt und Temperatur der GPU (`nvidia-smi -q "
        "-d PERFORMANCE`).",
        "starved": "NUM_WORKERS erhöhen, oder die Patches auf eine schnellere Platte legen.",
        "other-images": "Qualitäten nur auf derselben Seite davon vergleichen.",
    },
}
"""What to do; `{first}`, `{last}` and the names of facts are replaced."""
