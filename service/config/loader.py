"""Loads settings: defaults < TOML file < environment < `--set KEY=VALUE`; checks each value and records its origin.

Environment variables are `LEITSTAND_<KEY>` or plain `<KEY>`; the former take precedence. An unknown `LEITSTAND_<KEY>`
is an error, unknown plain names are ignored. No other module reads settings from the environment.
"""

import difflib
import re
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from service.atomic_files import read_small_file
from service.config.settings import RENAMED, WITHOUT_EFFECT, RunConfig, Value
from service.errors import DatasetError, RunDirectoryError, SettingError, UserError, plain_reason

PREFIX = "LEITSTAND_"
DEMONSTRATION = Path(__file__).with_name("demo.toml")
"""The file of --demo."""
MAX_SHOWN = 200
"""Most characters of a wrong value in an error."""
NOT_SETTINGS = frozenset(
    f"LEITSTAND_{name}" for name in ("URL", "TOKEN", "RUN", "CA", "CACHE", "INSECURE_HTTP", "CONFIG", "METRIC_IMAGES")
)
"""Variables with our prefix that are not settings of a run, but are used by the client, the launcher and the tests."""

SECRET = frozenset(
    {"action_secret", "api_token", "notify_urls", "store_url", "webhook_old_secret", "webhook_secret", "webhook_url"}
)
NAMES = tuple(item.name.upper() for item in fields(RunConfig))


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration, and the origin of every value that is not a default.

    `places` says the same to people: which file, which variable.
    """

    config: RunConfig
    origins: Mapping[str, str]
    places: Mapping[str, str] = field(default_factory=dict)


class Source(NamedTuple):
    """Settings of one origin, by their names there without `prefix`; `place` is the origin as people read it."""

    origin: str
    values: Mapping[str, Any]
    place: str
    prefix: str = ""

    def place_of(self, key: str) -> str:
        """Return where a setting stands, for a sentence."""
        is_variable = self.origin == "environment"
        return f"{self.place} {self.prefix}{key.upper()}" if is_variable else self.place


def load_config(path: Path | None, overrides: Iterable[str], environment: Mapping[str, str]) -> LoadedConfig:
    """Merge all sources into one checked `RunConfig`.

    `overrides` are `KEY=VALUE` texts. Raises `SettingError` for an unknown key (and suggests the most similar one), a
    value of the wrong type or out of range, and a file that is missing or not valid TOML.
    """
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    places: dict[str, str] = {}
    for source in [*_from_file(path), *_from_environment(environment), *_from_overrides(overrides)]:
        for key, raw in source.values.items():
            with _naming(key, source.place_of(key)):
                if isinstance(raw, dict):
                    raise SettingError(f"{key} is a table, but settings stand in none: remove [{key}].")
                name = canonical_name(key)
                places[name] = source.place_of(key)
                values[name.lower()] = convert(name, raw)
            origins[name] = source.origin
    with naming_origins(lambda: places):
        config = RunConfig(**values)  # type: ignore[arg-type]  # names and types were checked above
    return LoadedConfig(config, origins, places)


@contextmanager
def naming_origins(places: Callable[[], Mapping[str, str]]) -> Iterator[None]:
    """Say of settings that an error names where they stand; errors that say so already stay as they are.

    `places` is called if there is an error, and may raise `UserError` if the settings cannot be loaded.
    """
    try:
        yield
    except (SettingError, DatasetError, RunDirectoryError) as error:
        with suppress(UserError):
            _add_origins(error, places())
        raise


@contextmanager
def _naming(key: str, place: str) -> Iterator[None]:
    """Do the same for one setting as it is spelled there, which may be no setting at all."""
    try:
        yield
    except SettingError as error:
        name = RENAMED.get(key.strip().upper(), key.strip().upper())
        _add_origins(error, {name if name in NAMES else key.strip(): place})
        raise


def _add_origins(error: UserError, places: Mapping[str, str]) -> None:
    text = str(error)
    names: dict[str, list[str]] = {}
    for name, place in places.items():
        if re.search(rf"\b{re.escape(name)}\b", text):
            names.setdefault(place, []).append(name)
    clauses = [f"{', '.join(named)} come{'s' * (len(named) == 1)} from {place}" for place, named in names.items()]
    sentence = f"{', '.join(clauses)}."
    if clauses and not text.endswith(sentence):
        error.args = (f"{text}{'' if text.endswith(('.', '?')) else '.'} {sentence}", *error.args[1:])


def canonical_name(key: str) -> str:
    """Return the setting's upper-case name; raises `SettingError` that suggests the most similar one if unknown."""
    name = key.strip().upper()
    if name in WITHOUT_EFFECT:
        raise SettingError(f"{name} has no effect here ({WITHOUT_EFFECT[name]}); remove it.")
    name = RENAMED.get(name, name)
    if name in NAMES:
        return name
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else " `leitstand settings --all` lists them."
    raise SettingError(f"Unknown setting {key.strip()!r}.{hint}")


def convert(name: str, raw: Any) -> Value:
    """Convert `raw` (a TOML value or a text) to the setting's type; raises `SettingError` if that is impossible."""
    target = RunConfig.__annotations__[name.lower()]
    try:
        return _convert_to(target, raw)
    except (TypeError, ValueError, OverflowError):
        expected = {int: "a whole number", float: "a number", bool: "true or false"}.get(target, "a text without NUL")
        shown = raw if isinstance(raw, int) else repr(raw)
        raise SettingError(f"{name} is {str(shown)[:MAX_SHOWN]}, but must be {expected}.") from None


def plain_values(config: RunConfig) -> dict[str, int | float | bool | str]:
    """Return the settings as plain JSON values by upper-case names, secrets masked."""
    plain: dict[str, int | float | bool | str] = {}
    for item in fields(config):
        value = getattr(config, item.name)
        plain[item.name.upper()] = str(value) if isinstance(value, Path) else value
        if item.name in SECRET and value:
            plain[item.name.upper()] = "(set)"
    return plain


def _convert_to(target: type, raw: Any) -> Value:
    if target is bool:
        return _boolean(raw)
    if isinstance(raw, bool | list | dict):
        raise TypeError
    if target is int:
        return _whole_number(raw)
    if target is float:
        return float(raw)
    if not isinstance(raw, str | Path) or "\0" in str(raw):
        raise TypeError
    return Path(raw).expanduser() if target is Path else str(raw)


def _boolean(raw: Any) -> bool:
    known = {"true": True, "1": True, "yes": True, "on": True, "false": False, "0": False, "no": False, "off": False}
    if isinstance(raw, bool):
        return raw
    if not isinstance(raw, str) or raw.lower() not in known:
        raise ValueError
    return known[raw.lower()]


def _whole_number(raw: Any) -> int:
    number = float(raw)
    if not number.is_integer():
        raise ValueError
    return int(raw) if isinstance(raw, str) and raw.lstrip("+-").isdigit() else int(number)


def _from_file(path: Path | None) -> list[Source]:
    if path is None:
        return []
    try:
        # Every rank reads it, so it must be an ordinary file; some editors write a mark first.
        values = tomllib.loads(read_small_file(path).decode("utf-8-sig"))
    except FileNotFoundError:
        raise SettingError(f"There is no settings file {path}; give an existing one with --config.") from None
    except OSError as error:
        raise SettingError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise SettingError(f"The settings file {path} is {plain_reason(error)}: save it as UTF-8.") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"The settings file {path} is not valid TOML: {error}.") from None
    except (ValueError, RecursionError):  # more digits than Python converts
        reason = "a number in it is too long, or it is nested too deeply"
        raise SettingError(f"The settings file {path} cannot be used: {reason}.") from None
    _refuse_contradictions(path, values)
    return [Source(str(path), values, "--demo" if path == DEMONSTRATION else f"the file {path}")]


def _refuse_contradictions(path: Path, values: Mapping[str, Any]) -> None:
    """Raise `SettingError` for a setting under two spellings, of which either may be meant."""
    spellings: dict[str, str] = {}
    for key in values:
        name = key.strip().upper()
        other = spellings.setdefault(RENAMED.get(name, name), key)
        if other != key:
            raise SettingError(f"The settings file {path} has {other} and {key}, which are one setting; remove one.")


def _from_environment(environment: Mapping[str, str]) -> list[Source]:
    plain = {key: environment[key] for key in (*NAMES, *RENAMED) if environment.get(key)}
    prefixed = {
        key.removeprefix(PREFIX): value
        for key, value in environment.items()
        if key.startswith(PREFIX) and key not in NOT_SETTINGS and value  # empty means unset
    }
    place = "the environment variable"
    return [Source("environment", plain, place), Source("environment", prefixed, place, PREFIX)]


def _from_overrides(overrides: Iterable[str]) -> list[Source]:
    values: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set takes KEY=VALUE, but got {text!r}.")
        values[key] = value.strip()
    return [Source("--set", values, "--set")]
