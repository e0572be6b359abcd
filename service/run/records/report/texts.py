"""The words of a report in English and German, and numbers as each language writes them."""

import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from service.run.records.findings.finding import Finding
from service.run.records.findings.texts import Language

_DECIMAL_POINT = re.compile(r"(?<=\d)\.(?=\d)")
MISSING = "–"

_TEXTS: Mapping[str, tuple[str, str]] = {
    "report": ("Report of", "Bericht über"),
    "records": ("records", "Datensätze"),
    "steps": ("steps", "Schritte"),
    "step": ("step", "Schritt"),
    "hours": ("hours of training", "Stunden Training"),
    "minutes": ("minutes of training", "Minuten Training"),
    "best": ("best quality KI", "beste Qualität KI"),
    "gain": ("gain over LR", "Gewinn gegenüber LR"),
    "psnr": ("PSNR there", "PSNR dort"),
    "last": ("last quality KI", "letzte Qualität KI"),
    "samples": ("training samples", "Trainingsbeispiele"),
    "state": ("last reported state", "zuletzt gemeldeter Zustand"),
    "at_step": ("at step", "bei Schritt"),
    "curves": ("Curves", "Kurven"),
    "quality": ("Quality", "Qualität"),
    "losses": ("Losses", "Losses"),
    "lr": ("Learning rate", "Lernrate"),
    "weights": ("Weights of the loss", "Gewichte des Loss"),
    "activity": ("Activity of the layers, percent of the strongest", "Aktivität der Schichten, Prozent der stärksten"),
    "marks": (
        "Dashed lines: interventions, listed below. Shaded: phases of the learning rate, modes of the controller.",
        "Gestrichelt: Eingriffe, unten aufgezählt. Hinterlegt: Phasen der Lernrate, Modi der Regelung.",
    ),
    "findings": ("What is remarkable", "Auffälligkeiten"),
    "no_findings": ("Nothing was found.", "Nichts gefunden."),
    "advice": ("What to do", "Was zu tun ist"),
    "previews": ("Validation images", "Validierungsbilder"),
    "lr_ki_gt": (
        "Each from left to right: the enlarged input (LR), the network's output (KI), the truth (GT).",
        "Jeweils von links: die vergrößerte Eingabe (LR), die Ausgabe des Netzes (KI), die Wahrheit (GT).",
    ),
    "no_previews": ("The run saved no pictures.", "Der Lauf hat keine Bilder gespeichert."),
    "interventions": ("Interventions", "Eingriffe"),
    "no_interventions": ("Nobody intervened, as far as the store knows.", "Niemand griff ein, soweit bekannt."),
    "events": ("Events", "Ereignisse"),
    "no_events": ("The store has no events of the run.", "Es sind keine Ereignisse des Laufs gespeichert."),
    "left_out": ("and {count} earlier ones", "und {count} frühere"),
    "settings": ("Configuration", "Konfiguration"),
    "changed": ("Settings that are not defaults", "Einstellungen, die vom Standard abweichen"),
    "defaults": ("All others, at their defaults", "Alle anderen, wie im Standard"),
    "setting": ("setting", "Einstellung"),
    "value": ("value", "Wert"),
    "origin": ("origin", "Herkunft"),
    "no_settings": ("There is no config.json.", "Es gibt keine config.json."),
    "environment": ("Environment", "Umgebung"),
    "time": ("time", "Zeit"),
    "kind": ("kind", "Art"),
    "what": ("what", "Was"),
    "table": ("Records", "Datensätze"),
    "validation_loss": ("validation loss", "Validierungs-Loss"),
    "learning_rate": ("learning rate", "Lernrate"),
    "thinned": ("Every {count}th record.", "Jeder {count}. Datensatz."),
    "unreadable": ("Files that could not be used", "Dateien, die nicht verwendet werden konnten"),
    "made": ("Made on {when} by Leitstand {version}.", "Erstellt am {when} von Leitstand {version}."),
    "no_records": ("There is no record yet.", "Es gibt noch keinen Datensatz."),
    "total": ("total", "gesamt"),
    "validation": ("validation", "Validierung"),
    "multi-scale": ("multi-scale", "Mehrskalen"),
    "gradient": ("gradient", "Gradient"),
    "perceptual": ("perceptual", "perzeptuell"),
    "learning rate": ("learning rate", "Lernrate"),
    "note": ("Note", "Notiz"),
    "host": ("hosts", "Rechner"),
    "device": ("devices", "Geräte"),
    "world_size": ("ranks", "Ranks"),
    "training_data": ("training data", "Trainingsdaten"),
    "validation_data": ("validation data", "Validierungsdaten"),
    "parent": ("began with the weights of", "begann mit den Gewichten von"),
    "started": ("first record", "erster Datensatz"),
    "ended": ("last record", "letzter Datensatz"),
    "checkpoints": ("checkpoints", "Checkpoints"),
    "run_id": ("run", "Lauf"),
    "directory": ("directory", "Verzeichnis"),
    "leitstand": ("Leitstand", "Leitstand"),
    "commit": ("commit", "Commit"),
    "uncommitted": ("uncommitted changes, sha256", "nicht eingecheckte Änderungen, sha256"),
    "python": ("Python", "Python"),
    "torch": ("PyTorch", "PyTorch"),
    "cuda": ("CUDA", "CUDA"),
    "user": ("started by", "gestartet von"),
    "platform": ("system", "System"),
    "regression": ("regression", "Rückschritt"),
    "boost-helped": ("boost-helped", "Anhebung half"),
    "boost-no-help": ("boost-no-help", "Anhebung half nicht"),
    "gap": ("gap", "Lücke"),
    "not-finite": ("not-finite", "nicht endlich"),
    "skipped-steps": ("skipped-steps", "übersprungene Schritte"),
    "anomaly": ("anomaly", "Ausreißer"),
    "slow-rank": ("slow-rank", "langsamer Rank"),
    "starved": ("starved", "Daten zu langsam"),
    "other-images": ("other-images", "andere Bilder"),
    "ledger": ("Time and incidents", "Zeit und Vorfälle"),
    "no_ledger": ("The store does not tell.", "Es ist nichts darüber gespeichert."),
    "useful_time": ("useful time", "Nutzzeit"),
    "ledger_note": (
        "Useful time is time in steps whose work was kept, of the wall time since the first start began.",
        "Nutzzeit ist Zeit in Schritten, deren Arbeit behalten wurde, von der Zeit seit Beginn des ersten Starts.",
    ),
    "use": ("What the time went to", "Wofür die Zeit verging"),
    "share": ("share", "Anteil"),
    "duration": ("time", "Dauer"),
    "wall": ("all", "alles"),
    "useful": ("useful", "genutzt"),
    "repeated": ("done again", "wiederholt"),
    "starting": ("starting", "Start"),
    "validating": ("validating", "Validierung"),
    "saving": ("saving", "Sichern"),
    "paused": ("paused", "Pause"),
    "stalled": ("stalled", "Stillstand"),
    "down": ("down", "ausgefallen"),
    "stopped": ("stopped", "beendet"),
    "unknown": ("not known", "nicht bekannt"),
    "no_incidents": ("There was no incident.", "Es gab keinen Vorfall."),
    "noticed": ("noticed", "bemerkt"),
    "went_on": ("went on", "weiter"),
    "steps_lost": ("steps lost", "verlorene Schritte"),
    "named_by": ("named by", "benannt von"),
    "lasts": ("still lasts", "dauert an"),
    "after_seconds": ("after {seconds} s", "nach {seconds} s"),
    "rank_killed": ("rank killed", "Rang getötet"),
    "restart": ("restart of all ranks", "Neustart aller Ränge"),
    "machine_lost": ("machine lost", "Rechner verloren"),
    "trainer_down": ("trainer down", "Trainer ausgefallen"),
    "stall": ("stall", "Stillstand"),
    "rollback": ("rollback", "zurückgegangen"),
    "from_survivor": ("from the state of {source}", "mit dem Zustand von {source}"),
    "from_checkpoint": ("from {source}", "mit {source}"),
    "from_beginning": ("from the beginning", "von Anfang an"),
    "from_unharmed": ("by itself", "von selbst"),
    "by_launcher": ("launcher", "Starter"),
    "by_watchdog": ("watchdog", "Wächter"),
    "by_trainer": ("trainer", "Trainer"),
    "by_person": ("a person", "ein Mensch"),
    "by_alert": ("alert", "Alarm"),
    "by_start": ("the next start", "nächster Start"),
    "by_nobody": ("nobody", "niemandem"),
}


@dataclass(frozen=True)
class Texts:
    """The words and numbers of one language."""

    language: Language

    def __call__(self, key: str, **values: Any) -> str:
        """Return a text; one that has no translation, as a layer's name, is its own."""
        both = _TEXTS.get(key)
        text = key if both is None else both[0 if self.language == "en" else 1]
        return text.format(**values) if values else text

    def number(self, value: float | None, pattern: str = ".4f") -> str:
        """Return a number as the language writes it; a dash for None and NaN."""
        if value is None or value != value:
            return MISSING
        return self.decimals(format(value, pattern))

    def decimals(self, text: str) -> str:
        """Return a text with the decimal sign of the language."""
        return text if self.language == "en" else _DECIMAL_POINT.sub(",", text)

    def moment(self, unix_seconds: float | None) -> str:
        """Return a time in this machine's time zone."""
        if unix_seconds is None:
            return MISSING
        pattern = "%Y-%m-%d %H:%M" if self.language == "en" else "%d.%m.%Y %H:%M"
        return time.strftime(pattern, time.localtime(unix_seconds))

    def evidence(self, finding: Finding) -> str:
        """Return what a finding says."""
        return self.decimals(finding.evidence_in(self.language))
