"""Loads settings: defaults < TOML file < environment < `--set KEY=VALUE`; checks each value and records its origin.

Environment variables are `LEITSTAND_<KEY>` or plain `<KEY>`; the former take precedence. An unknown `LEITSTAND_<KEY>`
is an error, unknown plain names are ignored. No other module reads settings from the environment.
"""

import difflib
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from service.config.settings import RENAMED, WITHOUT_EFFECT, RunConfig, Value
from service.errors import SettingError

PREFIX = "LEITSTAND_"
NOT_SETTINGS = frozenset(
    {"LEITSTAND_URL", "LEITSTAND_TOKEN", "LEITSTAND_RUN", "LEITSTAND_CA", "LEITSTAND_CONFIG", "LEITSTAND_METRIC_IMAGES"}
)
"""Variables with our prefix that are not settings of a run, but are used by the client, the launcher and the tests."""

SECRET = frozenset({"api_token", "store_url", "webhook_secret", "webhook_url"})
NAMES = tuple(item.name.upper() for item in fields(RunConfig))


@dataclass(frozen=True)
class LoadedConfig:
    """A checked configuration, and the origin of every value that is not a default."""

    config: RunConfig
    origins: Mapping[str, str]


def load_config(path: Path | None, overrides: Iterable[str], environment: Mapping[str, str]) -> LoadedConfig:
    """Merge all sources into one checked `RunConfig`.

    `overrides` are `KEY=VALUE` texts. Raises `SettingError` for an unknown key (and suggests the most similar one), a
    value of the wrong type or out of range, and a file that is missing or not valid TOML.
    """
    values: dict[str, Value] = {}
    origins: dict[str, str] = {}
    for origin, source in [*_from_file(path), *_from_environment(environment), *_from_overrides(overrides)]:
        for key, raw in source.items():
            name = canonical_name(key)
            values[name.lower()] = convert(name, raw)
            origins[name] = origin
    return LoadedConfig(RunConfig(**values), origins)  # type: ignore[arg-type]  # names and types were checked above


def canonical_name(key: str) -> str:
    """Return the setting's upper-case name; raises `SettingError` that suggests the most similar one if unknown."""
    name = key.strip().upper()
    if name in WITHOUT_EFFECT:
        raise SettingError(f"{name} has no effect here ({WITHOUT_EFFECT[name]}); remove it.")
    name = RENAMED.get(name, name)
    if name in NAMES:
        return name
    near = difflib.get_close_matches(name, NAMES, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]}?" if near else " `docs/configuration.md` lists all settings."
    raise SettingError(f"Unknown setting {key.strip()!r}.{hint}")


def convert(name: str, raw: Any) -> Value:
    """Convert `raw` (a TOML value or a text) to the setting's type; raises `SettingError` if that is impossible."""
    target = RunConfig.__annotations__[name.lower()]
    try:
        return _convert_to(target, raw)
    except (TypeError, ValueError):
        expected = {int: "a whole number", float: "a number", bool: "true or false"}.get(target, "a text")
        raise SettingError(f"{name} is {raw!r}, but must be {expected}.") from None


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
    if not isinstance(raw, str | Path):
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


def _from_file(path: Path | None) -> list[tuple[str, dict[str, Any]]]:
    if path is None:
        return []
    try:
        with path.open("rb") as file:
            return [(str(path), tomllib.load(file))]
    except FileNotFoundError:
        raise SettingError(f"There is no settings file {path}; give an existing one with --config.") from None
    except OSError as error:
        raise SettingError(f"The settings file {path} cannot be read: {error.strerror}.") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingError(f"The settings file {path} is not valid TOML: {error}.") from None


def _from_environment(environment: Mapping[str, str]) -> list[tuple[str, dict[str, Any]]]:
    plain = {key: environment[key] for key in (*NAMES, *RENAMED) if environment.get(key)}
    prefixed = {
        key.removeprefix(PREFIX): value
        for key, value in environment.items()
        if key.startswith(PREFIX) and key not in NOT_SETTINGS and value  # empty means unset
    }
    return [("environment", plain), ("environment", prefixed)]


def _from_overrides(overrides: Iterable[str]) -> list[tuple[str, dict[str, Any]]]:
    values: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals:
            raise SettingError(f"--set takes KEY=VALUE, but got {text!r}.")
        values[key] = value.strip()
    return [("--set", values)]
