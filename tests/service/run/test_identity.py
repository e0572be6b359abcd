"""What people call a run and write down about it: what is taken, and what is said of anything else."""

from typing import Any

import pytest

from service.errors import CommandError
from service.run.identity import NAME_LENGTH, NOTE_LENGTH, check_description


@pytest.mark.parametrize(
    ("body", "changes"),
    [
        ({"name": " deeper network "}, {"name": "deeper network"}),
        ({"name": "Größeres Netz – 中文 🙂"}, {"name": "Größeres Netz – 中文 🙂"}),
        ({"note": "first line\n\tsecond"}, {"note": "first line\n\tsecond"}),
        ({"name": None, "note": ""}, {"name": None, "note": None}),
        ({"name": "  "}, {"name": None}),
        (
            {"name": "n" * NAME_LENGTH, "note": "n" * NOTE_LENGTH},
            {"name": "n" * NAME_LENGTH, "note": "n" * NOTE_LENGTH},
        ),
    ],
)
def test_a_text_is_taken_without_the_space_around_it_and_nothing_takes_it_away(
    body: dict[str, Any], changes: dict[str, Any]
) -> None:
    assert check_description(body) == changes


@pytest.mark.parametrize(
    ("body", "sentences"),
    [
        ([1], {"": "The body must be a JSON object with name, note or both, but is list."}),
        ({}, {"": 'There is nothing to change: give name, note or both, such as {"name": "deeper network"}.'}),
        ({"name": 5}, {"name": "name is 5, but must be a text, or null for none."}),
        ({"name": "a\nb"}, {"name": "name has the character \\n, which cannot be printed; leave it out."}),
        ({"name": "a\u202eb"}, {"name": "name has the character \\u202e, which cannot be printed; leave it out."}),
        ({"note": "a\x00b"}, {"note": "note has the character \\x00, which cannot be printed; leave it out."}),
        ({"note": "\ud800"}, {"note": "note has the character \\ud800, which cannot be printed; leave it out."}),
        ({"name": "n" * 101}, {"name": "name has 101 characters, but may have at most 100; shorten it."}),
        (
            {"title": "x", "name": ["y"]},
            {
                "title": "'title' is no part of a run's description; give name or note.",
                "name": "name is ['y'], but must be a text, or null for none.",
            },
        ),
    ],
)
def test_anything_else_is_refused_with_a_sentence_for_each_part(body: Any, sentences: dict[str, str]) -> None:
    with pytest.raises(CommandError) as raised:
        check_description(body)

    assert raised.value.members == {name: text for name, text in sentences.items() if name}
    assert str(raised.value) == " ".join(sentences.values())
