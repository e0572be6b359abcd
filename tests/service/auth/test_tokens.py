"""Tokens: made once, kept as hashes, revoked; the file whole or not at all, and a server that sees every change."""

import hashlib
import json
import logging
import multiprocessing
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.auth.tokens import (
    Token,
    TokenFileError,
    TokenReader,
    TokenScope,
    create_token,
    read_tokens,
    revoke_token,
    token_digest,
)
from service.cli import exit_code
from service.errors import UserError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens.json"


def name_of(found: Token | None) -> str | None:
    return None if found is None else found.name


def test_a_token_is_256_random_bits_and_only_its_hash_is_kept(path: Path) -> None:
    texts = [create_token(path, f"token-{number}", TokenScope.READ) for number in range(3)]

    assert len(set(texts)) == 3
    assert all(re.fullmatch(r"lst_[A-Za-z0-9_-]{43}", text) for text in texts)
    content = path.read_text()
    assert not [text for text in texts if text in content or text.removeprefix("lst_") in content]
    assert [token.sha256 for token in read_tokens(path)] == [
        hashlib.sha256(text.encode()).hexdigest() for text in texts
    ]


def test_only_the_owner_may_read_the_file_whatever_the_umask(path: Path) -> None:
    umask = os.umask(0)
    try:
        create_token(path, "anna", TokenScope.READ)
        create_token(path, "bert", TokenScope.READ)
    finally:
        os.umask(umask)

    assert path.stat().st_mode & 0o777 == 0o600
    assert [file.name for file in path.parent.iterdir()] == [path.name]


@pytest.mark.parametrize("name", ["", "a b", "-a", "ä", "a/b", "a" * 65, "API_TOKEN", "api_token", "anonymous", "a\n"])
def test_a_name_that_would_confuse_is_refused(path: Path, name: str) -> None:
    with pytest.raises(UserError, match="must be at most 64 letters"):
        create_token(path, name, TokenScope.READ)

    assert not path.exists()


def test_a_name_is_there_once(path: Path) -> None:
    create_token(path, "anna", TokenScope.READ)

    with pytest.raises(UserError, match="There is a token 'Anna' already"):
        create_token(path, "Anna", TokenScope.CONTROL)

    assert [token.name for token in read_tokens(path)] == ["anna"]


def test_a_token_that_is_not_there_cannot_be_revoked(path: Path) -> None:
    create_token(path, "anna", TokenScope.READ)

    with pytest.raises(UserError, match="holds no token 'bert'; it holds: anna"):
        revoke_token(path, "bert")


def create_some(path: Path, person: str) -> None:
    for number in range(10):
        create_token(path, f"{person}-{number}", TokenScope.READ)


def test_two_people_who_make_tokens_at_once_lose_none(path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    people = [context.Process(target=create_some, args=(path, person)) for person in ("anna", "bert")]
    for process in people:
        process.start()
    for process in people:
        process.join(60)

    assert [process.exitcode for process in people] == [0, 0]
    assert {token.name for token in read_tokens(path)} == {
        f"{person}-{number}" for person in ("anna", "bert") for number in range(10)
    }


def test_a_write_that_fails_leaves_the_file_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    create_token(path, "anna", TokenScope.READ)
    before = path.read_bytes()

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(TokenFileError, match="cannot be written: No space left on device"):
        create_token(path, "bert", TokenScope.READ)

    assert path.read_bytes() == before
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TokenFileError, match="cannot be used: No such file or directory; make it first"):
        create_token(tmp_path / "missing" / "tokens.json", "anna", TokenScope.READ)


def test_a_book_finds_whose_token_it_is(path: Path) -> None:
    anna, bert = (create_token(path, name, TokenScope.READ) for name in ("anna", "bert"))
    book = TokenReader("chosen", path)

    assert [name_of(book.find(text.encode())) for text in (anna, bert, "chosen")] == ["anna", "bert", "API_TOKEN"]
    assert book.find(b"chosen", include_configured=False) is None
    for wrong in (b"", b"chosen ", anna[:-1].encode(), anna.upper().encode(), token_digest(anna.encode()).encode()):
        assert book.find(wrong) is None


def test_a_chosen_token_may_hold_any_characters() -> None:
    assert name_of(TokenReader("pass wörd").find("pass wörd".encode())) == "API_TOKEN"


@pytest.mark.parametrize(
    ("chosen", "has_file", "is_required"), [("", False, False), ("a", False, True), ("", True, True)]
)
def test_a_token_is_needed_once_there_can_be_one(path: Path, chosen: str, has_file: bool, is_required: bool) -> None:
    assert TokenReader(chosen, path if has_file else None).is_required is is_required


def test_a_token_ends_when_its_time_is_over(path: Path) -> None:
    text = create_token(path, "guest", TokenScope.READ, lifetime_seconds=3600)
    (token,) = read_tokens(path)
    now = [token.created_at]
    book = TokenReader("", path, clock=lambda: now[0])

    assert token.expires_at == token.created_at + 3600
    now[0] += 3599
    assert name_of(book.find(text.encode())) == "guest"
    now[0] += 1
    assert book.find(text.encode()) is None


def test_a_book_sees_every_change_of_its_file(path: Path) -> None:
    anna = create_token(path, "anna", TokenScope.READ)
    book = TokenReader("", path)
    assert name_of(book.find(anna.encode())) == "anna"

    bert = create_token(path, "bert", TokenScope.READ)
    assert name_of(book.find(bert.encode())) == "bert"
    revoke_token(path, "anna")
    assert book.find(anna.encode()) is None
    assert name_of(book.find(bert.encode())) == "bert"


def test_a_book_reads_its_file_only_when_it_changed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = create_token(path, "anna", TokenScope.READ).encode()
    book, opened, original = TokenReader("", path), [], Path.open

    def counted_open(self: Path, mode: str) -> Any:
        opened.append(self)
        return original(self, mode)

    monkeypatch.setattr(Path, "open", counted_open)

    for _ in range(5):
        book.find(text)

    assert opened == [path]


ENTRY = {"name": "anna", "scope": "read", "sha256": "0" * 64, "created_at": 1.0, "expires_at": None}


def with_entry(**changes: Any) -> str:
    return json.dumps({"version": 1, "tokens": [{**ENTRY, **changes}]})


DAMAGED = {
    "empty": "",
    "cut": with_entry()[:-10],
    "no JSON": "\x00\x01",
    "a list": "[]",
    "no version": '{"tokens": []}',
    "a later version": '{"version": 2, "tokens": []}',
    "tokens missing": '{"version": 1}',
    "tokens no list": '{"version": 1, "tokens": 5}',
    "an entry no object": '{"version": 1, "tokens": ["lst_x"]}',
    "an unknown scope": with_entry(scope="admin"),
    "an unknown key": with_entry(colour="red"),
    "a name with blanks": with_entry(name="a b"),
    "a name that is reserved": with_entry(name="API_TOKEN"),
    "a name no text": with_entry(name=5),
    "a hash too short": with_entry(sha256="0" * 63),
    "a hash in capitals": with_entry(sha256="A" * 64),
    "no time": with_entry(created_at="yesterday"),
    "an end that never comes": with_entry(expires_at=float("nan")),
    "an end that is true": with_entry(expires_at=True),
    "a name twice": json.dumps({"version": 1, "tokens": [ENTRY, {**ENTRY, "name": "ANNA"}]}),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_file_is_refused_in_a_sentence(path: Path, damage: str) -> None:
    path.write_text(DAMAGED[damage])
    path.chmod(0o600)

    with pytest.raises(TokenFileError, match="is damaged") as error:
        read_tokens(path)

    assert error.value.exit_code == 2
    assert "\n" not in str(error.value)


def others_may_write(path: Path) -> None:
    path.chmod(0o622)


def gone(path: Path) -> None:
    path.unlink()


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


@pytest.mark.parametrize("harm", [others_may_write, gone, a_folder, cut])
def test_while_its_file_cannot_be_used_a_book_knows_only_the_chosen_token(
    path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    text = create_token(path, "anna", TokenScope.READ).encode()
    book = TokenReader("chosen", path)
    assert name_of(book.find(text)) == "anna"
    harm(path)

    for given in (text, b"other", b"other"):
        with pytest.raises(TokenFileError):
            book.find(given)

    assert name_of(book.find(b"chosen")) == "API_TOKEN"
    assert len(caplog.records) == 1, "it is said once"


def test_a_file_that_is_whole_again_is_taken_up(path: Path) -> None:
    text = create_token(path, "anna", TokenScope.READ).encode()
    content, book = path.read_bytes(), TokenReader("", path)
    cut(path)
    with pytest.raises(TokenFileError):
        book.find(text)

    path.write_bytes(content)

    assert name_of(book.find(text)) == "anna"


# The command line


def test_a_token_is_made_listed_and_revoked_on_the_command_line(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("API_TOKENS", str(path))

    assert exit_code(["token", "create", "anna", "--scope", "control", "--expires", "7"]) == 0
    made = capsys.readouterr()
    text = made.out.strip()
    assert name_of(TokenReader("", path).find(text.encode())) == "anna"
    assert "shown this once" in made.err

    assert exit_code(["token", "list", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["tokens"]
    assert (entry["name"], entry["scope"], entry["has_expired"]) == ("anna", "control", False)
    assert entry["expires_at"] - entry["created_at"] == 7 * 24 * 3600
    assert set(entry) == {"name", "scope", "created_at", "expires_at", "has_expired"}
    assert exit_code(["token", "list"]) == 0
    assert "anna   control" in capsys.readouterr().out

    assert exit_code(["token", "revoke", "anna"]) == 0
    assert capsys.readouterr().out == "token anna revoked\n"
    assert exit_code(["token", "list"]) == 0
    assert "No token yet" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["create", "anna", "--scope", "read"], "API_TOKENS names no file of tokens"),
        (["list", "--set", "API_TOKENS=missing.json"], "There is no file missing.json"),
        (["revoke", "anna", "--set", "API_TOKENS=missing.json"], "There is no file missing.json"),
        (["create", "anna"], "Missing option '--scope'"),
        (["create", "anna", "--scope", "admin"], "'admin' is not one of 'read', 'control'"),
        (["create", "anna", "--scope", "read", "--expires", "0"], "0"),
    ],
)
def test_what_cannot_be_done_is_said_with_exit_code_2(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    sentence: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    assert exit_code(["token", *arguments]) == 2
    assert sentence in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_errors_of_the_list_as_json_are_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code(["token", "list", "--json", "--set", "API_TOKENS=missing.json"]) == 2

    printed = capsys.readouterr()
    assert printed.out == ""
    assert "There is no file missing.json" in json.loads(printed.err)["detail"]
