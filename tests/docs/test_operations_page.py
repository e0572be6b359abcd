"""docs/operations.md: every state, key, command, file and variable that it names exists, and none is left out."""

import json
import re
import time
from pathlib import Path
from typing import Any

import click
import pytest

from api.alerts import alert_sender, webhook
from api.app import create_app
from api.http.problem_types import PROBLEMS
from api.http.rate_limit import WRONG_TOKENS_PER_MINUTE
from ddp.checkpoint.folder import verify
from ddp.checkpoint.format import MANIFEST_FILE, STATE_FILE, Reason, checkpoint_name
from ddp.control.shutdown import EXIT_CODE, FORCED_EXIT_CODE
from ddp.distributed.world import COLLECTIVE_TIMEOUT_SECONDS
from ddp.metrics.stragglers import WINDOWS_IN_A_ROW
from ddp.metrics.window import SLOW_FACTOR, SLOW_STEPS
from ddp.recording import record_writer, recorder, recorder_thread, store_writer
from ddp.recording.log_files import RetryingFileHandler
from ddp.step.out_of_memory import out_of_memory_sentence
from ddp.training import block_review, checkpoints
from ddp.validation.image_scores import shortage_sentence
from service.alerts import rules
from service.cli import leitstand
from service.cli.watch.picture import HELP
from service.config.live_settings import LiveSettings
from service.config.settings import RunConfig
from service.errors import LAST_STATE_UNSAVED
from service.launcher.processes import Timing
from service.launcher.terminal.key_commands import LEGEND
from service.launcher.termination import DUPLICATE_SECONDS, KILLED, TERMINATION
from service.launcher.torchrun import FINAL_EXIT_CODES
from service.run.directory import RunDirectory
from service.run.state import LEFT_BY_SIGNAL, LOST_AFTER_SECONDS, RunState
from service.store.backends import postgres
from service.store.queries.events import Event


@pytest.fixture(scope="module")
def page(repository: Path) -> str:
    return (repository / "docs/operations.md").read_text()


def section(page: str, heading: str) -> str:
    """The text below a heading, up to the next of its level or above."""
    level = heading.split()[0]
    _, _, rest = page.partition(f"\n{heading}\n")
    assert rest, heading
    return re.split(rf"^#{{2,{len(level)}}} ", rest, maxsplit=1, flags=re.MULTILINE)[0]


def test_every_state_has_one_row_and_no_other_does(page: str) -> None:
    rows = re.findall(r"^\| `([a-z]+)` \|", section(page, "## States"), re.MULTILINE)

    assert rows == [state.value for state in (*RunState,) if state.value in rows]
    assert sorted(rows) == sorted(state.value for state in RunState)


def test_states_that_take_commands_are_those_of_the_code(page: str) -> None:
    (sentence,) = re.findall(r"Commands are accepted while the state is ([^.]+)\.", page)

    assert set(re.findall(r"`([a-z]+)`", sentence)) == {state.value for state in RunState if state.has_trainer}


def test_every_key_is_explained(page: str) -> None:
    starting, _, later = page.partition("### Watching in a terminal")
    keys = set(re.findall(r"^\| `([a-z])`", starting, re.MULTILINE))

    assert set(re.findall(r"`([a-z?↑↓])`", later.partition("With a token")[0])) >= {
        key for key, _ in HELP if len(key) == 1
    }
    assert keys == set(re.findall(r"\b([a-z]) (?:validate|pause|checkpoint|leave)", LEGEND))


def test_every_command_and_option_that_is_named_exists(page: str) -> None:
    lines = set(re.findall(r"leitstand ([a-z]+(?: list)?)((?: --[a-z]+)*)", page))
    assert len(lines) > 10

    for words, options in lines:
        command: click.Command = leitstand
        for word in words.split():
            assert isinstance(command, click.Group)
            assert word in command.commands, words
            command = command.commands[word]
        known = {option for parameter in command.params for option in parameter.opts}
        assert set(options.split()) <= known, (words, options)


def test_every_route_that_is_named_exists(page: str) -> None:
    adapter = create_app(RunConfig()).url_map.bind("127.0.0.1")
    named = {("GET", path) for path in re.findall(r"GET (/[a-z]+)", page)}
    for method, path in re.findall(r"curl -s [^\n]*?(-X POST )?http://127\.0\.0\.1:5050(/[^\s#]*)", page):
        named.add(("POST" if method else "GET", path))
    assert len(named) >= 5

    for method, path in named:
        adapter.match(path, method=method)  # raises when there is none


def test_numbers_are_those_of_the_code(page: str) -> None:
    assert f"for `STALL_SECONDS` ({RunConfig().stall_seconds:.0f}) no step" in page
    assert f"no sign of life for {LOST_AFTER_SECONDS:.0f} s" in page
    assert f"after {COLLECTIVE_TIMEOUT_SECONDS / 60:.0f} minutes" in page
    assert f"{store_writer.MAX_LOG_POINTS:,} log points".replace(",", " ") in page
    assert f"tries for {recorder.LAST_CHANCE_SECONDS:.0f} more seconds" in page
    assert recorder_thread.RETRY_SECONDS == record_writer.RETRY_SECONDS == checkpoints.RETRY_SECONDS == 2
    assert f"({RunConfig().last_save_seconds:.0f} by default), after a signal for" in page
    assert f"for {checkpoints.AFTER_SIGNAL_SECONDS:.0f} seconds at most" in page
    assert "every two seconds" in page
    for code in (EXIT_CODE, FORCED_EXIT_CODE, KILLED):
        assert str(code) in section(page, "## Exit codes")
    assert f"| | {LAST_STATE_UNSAVED} |" in section(page, "## Exit codes")


def test_every_alert_has_one_row_with_the_numbers_of_the_code(page: str) -> None:
    text = section(page, "## Alerts")

    assert re.findall(r"^\| `([a-z_]+)` \|", text, re.MULTILINE) == list(rules.NAMES)
    assert f"no sign of life for {rules.LOST_SECONDS:.0f} s" in text
    assert f"skipped in the last {rules.NON_FINITE_SECONDS / 60:.0f} minutes" in text
    assert f"the same one for {rules.SLOW_SECONDS / 60:.0f} minutes" in text


def test_webhooks_are_as_they_are_described(page: str) -> None:
    text = section(page, "### Webhooks")
    (example,) = re.findall(r"```json\n(.*?)```", text, re.DOTALL)
    told = {"name": "stalled", "is_on": True, "since": 1.0, "sentence": "No progress."}

    assert list(json.loads(example)) == list(webhook.payload(Event(118, "a", 1.0, 5120, "alert", told), 2))
    assert f"`{webhook.MESSAGE_ID}`" in text
    assert f"`<{webhook.MESSAGE_ID}>.<{webhook.TIMESTAMP}>.<body>`" in text
    assert f"`{webhook.SIGNATURE}: v1,<base64>`" in text
    assert f"after {alert_sender.INITIAL_BACKOFF_SECONDS:.0f} s at first" in text
    assert f"up to {alert_sender.MAX_BACKOFF_SECONDS / 60:.0f} minutes" in text
    assert f"for {alert_sender.GIVE_UP_SECONDS / 3600:.0f} hours" in text
    assert f"older than {alert_sender.NEWS_SECONDS / 3600:.0f} hours" in text


def test_the_receiver_of_webhooks_that_is_shown_knows_genuine_ones(page: str) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", section(page, "### Webhooks"), re.DOTALL)
    names: dict[str, Any] = {}
    exec(code, names)
    is_genuine, now = names["is_genuine"], int(time.time())
    secret, other = "whsec_" + "c2VjcmV0" * 4, "whsec_" + "b3RoZXI1" * 4
    event = Event(118, "a", 1.0, 5120, "alert", {})

    def headers(secret: str, sent_at: int) -> dict[str, str]:
        return webhook.headers_of(webhook.WebhookTarget("https://a/b", secret), event, sent_at, b"{}")

    assert is_genuine(secret, headers(secret, now), b"{}")
    assert not is_genuine(secret, headers(other, now), b"{}")
    assert not is_genuine(secret, headers(secret, now), b"{ }")
    assert not is_genuine(secret, headers(secret, now - 3600), b"{}")


def test_refusals_that_are_explained_are_those_of_the_code(page: str) -> None:
    rows = re.findall(r"^\| (\d+) \*([a-z-]+)\* \|", section(page, "### Requests are refused"), re.MULTILINE)
    assert rows

    assert [(int(status), slug) for status, slug in rows] == [(PROBLEMS[slug].status, slug) for _, slug in rows]
    assert f"{WRONG_TOKENS_PER_MINUTE} wrong tokens" in section(page, "## Security")


def test_connections_to_a_shared_store_are_those_of_the_code(page: str) -> None:
    pool = postgres.MULTI_THREAD_POOL

    assert f"an API up to {pool['pool_size'] + pool['max_overflow']}" in page


def test_numbers_of_a_slow_rank_are_those_of_the_code(page: str) -> None:
    text = section(page, "### A rank is slow")

    assert f"after {WINDOWS_IN_A_ROW} log points in a row" in text
    assert f"more than {SLOW_FACTOR} times" in text
    assert f"fewer than {SLOW_STEPS} steps" in text


def test_numbers_of_an_automatic_rollback_are_those_of_the_code(page: str) -> None:
    text = section(page, "### When numbers go bad")

    assert block_review.ROLLBACK_LR_FACTOR == 0.5
    assert "`LR_SCALE` at half of what it was" in text
    assert f"After {block_review.MAX_FRUITLESS_ROLLBACKS} such rollbacks" in text


def test_what_leaving_means_is_that_of_the_code(page: str) -> None:
    text = " ".join(section(page, "## Leaving and returning").split())

    assert f"*{LEFT_BY_SIGNAL}*" in text
    assert f"after more than {DUPLICATE_SECONDS:.0f} s that rank ends at once" in text
    for number in TERMINATION:
        assert number.name in text
    assert f"`leitstand up` waits {Timing().trainer_grace_seconds:.0f} seconds" in text


def test_exit_codes_that_are_not_restarted_are_those_of_the_launcher(page: str) -> None:
    rows = re.findall(r"^\| (\d+): .+? \| no\b", section(page, "### Restarts after an accident"), re.MULTILINE)

    assert {int(code) for code in rows} == {0, *FINAL_EXIT_CODES}


def test_default_number_of_restarts_is_that_of_the_command_line(page: str) -> None:
    for command in ("up", "train"):
        (restarts,) = (item for item in leitstand.commands[command].params if item.name == "restarts")
        assert f"in the life of one launcher, {restarts.default} by default" in " ".join(page.split())


def test_every_reason_of_a_checkpoint_is_named_and_no_other(page: str) -> None:
    (named,) = re.findall(r"\(`reason`: ([^)]+)\)", section(page, "### Checkpoints"))

    assert re.findall(r"`(\w+)`", named) == list(Reason)


def test_sentences_that_are_quoted_are_those_that_are_said(page: str, tmp_path: Path) -> None:
    text = " ".join(line.removeprefix("> ") for line in page.splitlines())
    out_of_memory = out_of_memory_sentence(1, "cuda:1", RunConfig(batch_size=16), 8)
    earlier = LiveSettings(RunConfig()).with_changes({"LR_SCALE": 0.5}, step=0, has_perceptual=False)
    _, dropped = LiveSettings.resumed(RunConfig(lr_scale=0.7), earlier.state())
    damaged = tmp_path / checkpoint_name(2800)
    damaged.mkdir()
    (damaged / STATE_FILE).write_bytes(b"not what it was")
    (damaged / MANIFEST_FILE).write_text('{"format_version": 2, "step": 2800, "sha256": "0"}')

    assert out_of_memory in text
    assert shortage_sentence("city.png", (9600, 5400), "rank 0 (cpu)", 64) in text
    assert dropped[0] in text
    assert f"Checkpoint {damaged.name} cannot be used: {verify(damaged)}; trying the one before." in text


def test_run_directory_lists_what_a_run_writes(page: str) -> None:
    directory = RunDirectory(Path("run"))
    layout = section(page, "## The run directory")

    for path in (directory.store, directory.log, directory.config, directory.identity):
        assert path.name in layout
    branch = directory.archive_of_branch("<run id>", 0).relative_to(directory.root).as_posix().replace("-0", "-<N>")
    names = (directory.checkpoints.name, directory.previews.name, STATE_FILE, MANIFEST_FILE, f"{branch}/", ".lock")
    for name in names:
        assert name in layout


def test_the_log_may_be_copied_and_truncated(tmp_path: Path) -> None:
    """What the page says of log rotation: the handler appends, so that it goes on at the new end."""
    import logging

    handler = RetryingFileHandler(tmp_path / "training.log")
    record = logging.LogRecord("test", logging.INFO, __file__, 1, "line", (), None)
    handler.emit(record)
    (tmp_path / "training.log").write_bytes(b"")

    handler.emit(record)
    handler.close()

    assert (tmp_path / "training.log").read_bytes() == b"line\n"


@pytest.mark.parametrize("name", ["operations.md", "configuration.md"])
def test_files_of_the_repository_that_are_named_exist(repository: Path, name: str) -> None:
    text = (repository / "docs" / name).read_text()
    named = set(re.findall(r"\b(?:deploy|service|docs)/[\w./-]+\.\w+|docker-compose[\w.]*\.yml", text))

    assert named
    for path in named:
        assert (repository / path).is_file(), path


def test_the_block_for_nginx_that_is_shown_is_the_file_of_the_repository(page: str, repository: Path) -> None:
    (shown,) = re.findall(r"```nginx\n(.*?)```", section(page, "### Below a path"), re.DOTALL)

    assert (repository / "deploy/nginx/leitstand-path.conf").read_text().endswith(f"\n{shown}")
