"""GET /logs."""

from pathlib import Path

import pytest
from flask.testing import FlaskClient

from api.artifacts import log_tail
from api.artifacts.log_tail import last_lines
from service.store.store import Store


@pytest.fixture
def log(root: Path, store: Store) -> Path:
    path = root / "training.log"
    path.write_text("".join(f"line {number}\n" for number in range(1000)))
    return path


def test_the_last_lines_are_plain_text(client: FlaskClient, log: Path) -> None:
    answer = client.get("/logs?tail=3")

    assert answer.get_data(as_text=True) == "line 997\nline 998\nline 999\n"
    assert answer.headers["Content-Type"] == "text/plain; charset=utf-8"


def test_two_hundred_lines_come_where_nothing_is_said(client: FlaskClient, log: Path) -> None:
    lines = client.get("/logs").get_data(as_text=True).splitlines()

    assert (len(lines), lines[0], lines[-1]) == (200, "line 800", "line 999")


def test_a_short_log_comes_as_a_whole(client: FlaskClient, log: Path) -> None:
    log.write_text("one\ntwo\n")

    assert client.get("/logs").get_data(as_text=True) == "one\ntwo\n"


def test_an_empty_log_is_empty(client: FlaskClient, log: Path) -> None:
    log.write_text("")

    assert (client.get("/logs").status_code, client.get("/logs").data) == (200, b"")


def test_a_line_that_is_being_written_counts_as_a_line(client: FlaskClient, log: Path) -> None:
    with log.open("a") as file:
        file.write("half")

    assert client.get("/logs?tail=2").get_data(as_text=True) == "line 999\nhalf"


def test_what_is_no_text_is_replaced(client: FlaskClient, log: Path) -> None:
    log.write_bytes("📊 Statistics saved\n".encode() + b"\xff\xfe\n")

    assert client.get("/logs").get_data(as_text=True) == "📊 Statistics saved\n\ufffd\ufffd\n"


@pytest.mark.parametrize("ending", ["\n", ""])
@pytest.mark.parametrize("piece_bytes", [1, 2, 3, 7, 64])
@pytest.mark.parametrize("count", [1, 2, 5, 40, 41, 5000])
def test_wherever_pieces_are_cut_the_lines_are_right(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, piece_bytes: int, count: int
) -> None:
    monkeypatch.setattr(log_tail, "CHUNK_BYTES", piece_bytes)
    lines = [f"{'x' * (number % 5)}" for number in range(40)]
    path = tmp_path / "log"
    path.write_text("\n".join(lines) + ending)

    found = last_lines(path, count)

    assert found == ("\n".join(lines[-count:]) + ending).encode()


def test_of_a_huge_log_only_the_end_is_read(log: Path, monkeypatch: pytest.MonkeyPatch, client: FlaskClient) -> None:
    with log.open("r+b") as file:
        file.truncate(10**11)
        file.seek(0, 2)
        file.write(b"\nthe end\n")

    assert client.get("/logs?tail=1").data == b"the end\n"
    assert len(client.get("/logs?tail=5").data) == log_tail.MAX_BYTES


def test_a_rotated_log_is_read_anew(client: FlaskClient, log: Path) -> None:
    client.get("/logs")
    log.rename(log.with_name("training.log.1"))
    log.write_text("anew\n")

    assert client.get("/logs").data == b"anew\n"


def test_a_log_that_is_emptied_while_it_is_read_breaks_nothing(
    client: FlaskClient, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.pread", lambda _file, _size, _start: b"")

    assert (client.get("/logs").status_code, client.get("/logs").data) == (200, b"")


def test_without_a_log_there_is_nothing_to_show(client: FlaskClient, store: Store) -> None:
    answer = client.get("/logs")

    assert (answer.status_code, answer.get_json()["type"]) == (404, "/problems/not-found")


def test_a_link_and_a_folder_are_no_logs(client: FlaskClient, log: Path, tmp_path: Path) -> None:
    log.unlink()
    secret = tmp_path / "secret"
    secret.write_text("secret")
    log.symlink_to(secret)
    assert client.get("/logs").status_code == 404

    log.unlink()
    log.mkdir()
    assert client.get("/logs").status_code == 404


@pytest.mark.parametrize("tail", ["0", "5001", "-1", "all", "", "1.0"])
def test_a_wrong_number_of_lines_is_refused(client: FlaskClient, log: Path, tail: str) -> None:
    answer = client.get(f"/logs?tail={tail}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")


def test_a_log_that_cannot_be_read_is_a_problem_not_a_crash(
    client: FlaskClient, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_arguments: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("api.routes.run.logs.log_part", refuse)

    assert client.get("/logs").get_json()["type"] == "/problems/storage-unavailable"


# What is new


def fetched(client: FlaskClient, cursor: str | None, tail: int = 200) -> tuple[str, str, bool]:
    """What an answer has: its text, the cursor for the next one, and whether it continues the one before."""
    answer = client.get("/logs", query_string={"tail": tail, **({} if cursor is None else {"after": cursor})})
    assert answer.status_code == 200, answer.get_json()
    return answer.get_data(as_text=True), answer.headers["Log-Cursor"], answer.headers.get("Log-Continued") == "true"


def test_after_a_cursor_only_what_was_written_since_comes(client: FlaskClient, log: Path) -> None:
    text, cursor, is_continued = fetched(client, None, tail=1)
    assert (text, is_continued) == ("line 999\n", False)

    text, cursor, is_continued = fetched(client, cursor)
    assert (text, is_continued) == ("", True)
    with log.open("a") as file:
        file.write("one\nhal")
    text, cursor, is_continued = fetched(client, cursor)
    assert (text, is_continued) == ("one\nhal", True)
    with log.open("a") as file:
        file.write("f\n")
    assert fetched(client, cursor)[0] == "f\n"


def test_a_character_that_is_half_written_comes_whole_with_the_next_part(client: FlaskClient, log: Path) -> None:
    sign = "📊".encode()
    for end in range(1, len(sign)):
        log.write_bytes(b"saved " + sign[:end])
        text, cursor, _ = fetched(client, None)
        assert text == "saved "
        with log.open("ab") as file:
            file.write(sign[end:] + b"\n")
        assert fetched(client, cursor) == ("📊\n", fetched(client, None)[1], True)


def test_another_log_comes_as_its_last_lines(client: FlaskClient, log: Path) -> None:
    _, cursor, _ = fetched(client, None)
    log.rename(log.with_name("training.log.1"))
    log.write_text("anew\n")
    text, cursor, is_continued = fetched(client, cursor)
    assert (text, is_continued) == ("anew\n", False)

    log.write_text("")  # a rotation that empties the file
    assert fetched(client, cursor)[0::2] == ("", False)


def test_after_very_much_that_is_new_the_last_lines_come(
    client: FlaskClient, log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _, cursor, _ = fetched(client, None)
    monkeypatch.setattr(log_tail, "MAX_BYTES", 100)
    with log.open("a") as file:
        file.write("x\n" * 51)

    assert fetched(client, cursor, tail=2)[0::2] == ("x\nx\n", False)


@pytest.mark.parametrize("cursor", ["nonsense", "", "LTUvMQ"])
def test_a_wrong_cursor_is_refused(client: FlaskClient, log: Path, cursor: str) -> None:
    answer = client.get(f"/logs?after={cursor}")

    assert (answer.status_code, answer.get_json()["type"]) == (422, "/problems/invalid-argument")
    assert "Log-Cursor" in answer.get_json()["detail"]
