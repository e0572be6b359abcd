"""The list of loss terms: the public names that are made from it, and the one list beside it, the dashboard's."""

import re
from pathlib import Path

from service.config.live_settings import PINNABLE
from service.config.loader import NAMES
from service.loss_terms import LOSS_TERMS, TERM_COUNT, TOTAL_LOSS_KEY
from service.run.record_schema import FIELDS


def test_terms_have_their_order_and_the_names_of_records_and_settings() -> None:
    assert [(term.label, term.setting, term.loss_key, term.weight_key) for term in LOSS_TERMS] == [
        ("l1", "L1_WEIGHT", "l1_loss_value", "l1_weight_current"),
        ("ms", "MS_WEIGHT", "ms_loss_value", "ms_weight_current"),
        ("gradient", "GRAD_WEIGHT", "gradient_loss_value", "gradient_weight_current"),
        ("perceptual", "PERCEPTUAL_WEIGHT", "perceptual_loss_value", "perceptual_weight_current"),
    ]
    assert (TERM_COUNT, TOTAL_LOSS_KEY) == (4, "total_loss_value")


def test_every_term_has_a_setting_for_its_weight_that_can_be_pinned() -> None:
    settings = [term.setting for term in LOSS_TERMS]

    assert set(settings) <= set(NAMES)
    assert list(PINNABLE[:TERM_COUNT]) == settings


def test_the_record_says_of_an_optional_term_what_its_weight_is_when_it_is_off() -> None:
    meanings = {field.name: field.meaning for field in FIELDS}

    assert meanings["ms_weight_current"] == "weight of the multi-scale term in force"
    assert meanings["perceptual_weight_current"] == "weight of the perceptual term in force; 0 when the term is off"


def test_the_dashboard_shows_the_terms_in_the_same_order(repository: Path) -> None:
    script = (repository / "api/static/dashboard/state/panels.js").read_text()
    _, _, rest = script.partition("const TERMS = [")
    shown = re.findall(r'\["([^"]+)", "([^"]+)"\]', rest.partition("];")[0])

    assert [(title.lower(), label) for title, label in shown] == [(t.title.lower(), t.label) for t in LOSS_TERMS]
