"""docker-compose.yml and its override: valid, complete, and as careful as docs/operations.md says."""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

import check_jsonschema
import pytest
import yaml
from click.testing import CliRunner, Result

from service.config.loader import load_config
from service.config.settings import RunConfig
from service.config.source import SettingsSource
from tests.deploy.conftest import MissingVariableError, read_compose

OURS = ("prepare", "trainer", "trainer-gpu", "api")
CONTAINER_PATHS = ("/leitstand/run", "/leitstand/data")


def mounts(service: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """{path in the container: (source, mode)}."""
    parts = [text.split(":") for text in service.get("volumes", ())]
    return {target: (source, mode[0] if mode else "rw") for source, target, *mode in parts}


def check(file: Path) -> Result:
    """Hold a file against the Compose specification."""
    return CliRunner().invoke(check_jsonschema.main, ["--builtin-schema", "vendor.compose-spec", str(file)])


def test_compose_file_follows_the_compose_specification(repository: Path) -> None:
    result = check(repository / "docker-compose.yml")

    assert result.exit_code == 0, result.output


def test_schema_check_notices_a_misspelt_key(tmp_path: Path) -> None:
    broken = tmp_path / "docker-compose.yml"
    broken.write_text("services: {a: {image: b, helthcheck: {}}}\n")

    result = check(broken)

    assert result.exit_code == 1
    assert "helthcheck" in result.output


def test_every_file_and_volume_that_is_referred_to_exists(repository: Path, compose: dict[str, Any]) -> None:
    used_configs, used_secrets = set(), set()
    for service in compose["services"].values():
        used_configs |= {item["source"] for item in service.get("configs", ())}
        used_secrets |= set(service.get("secrets", ()))
        for source, _ in mounts(service).values():
            known = (repository / source).is_dir() if source.startswith("./") else source in compose["volumes"]
            assert known, f"{source} does not exist"
        if "build" in service:
            assert (repository / service["build"]["dockerfile"]).is_file()

    assert used_configs == compose["configs"].keys()
    assert used_secrets == compose["secrets"].keys()
    for config in compose["configs"].values():
        assert (repository / config["file"]).is_file()


def test_without_a_token_compose_refuses_with_a_sentence_that_helps(repository: Path) -> None:
    with pytest.raises(MissingVariableError, match=r"deploy/example\.env.*API_TOKEN"):
        read_compose(repository / "docker-compose.yml")


def test_ports_are_published_on_loopback_only(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert ports == ["127.0.0.1:5050:5050", "127.0.0.1:9090:9090", "127.0.0.1:3000:3000"]


def test_no_container_runs_as_root_or_with_capabilities(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        assert int(service["user"].partition(":")[0]) > 0, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name


def test_every_file_system_but_that_of_prometheus_is_read_only(compose: dict[str, Any]) -> None:
    writable = {name for name, service in compose["services"].items() if not service.get("read_only")}

    # Compose cannot put a secret from the environment into a read-only container.
    assert writable == {"prometheus"}
    assert compose["services"]["prometheus"]["secrets"] == ["api_token"]


def test_images_are_pinned_to_a_version(compose: dict[str, Any]) -> None:
    for service in compose["services"].values():
        assert re.fullmatch(r"[a-z/-]+:v?[0-9]+\.[0-9]+\.[0-9]+", service["image"]), service["image"]


def test_trainer_and_api_share_the_run_directory_as_one_user(compose: dict[str, Any]) -> None:
    trainer, api = compose["services"]["trainer"], compose["services"]["api"]

    assert mounts(trainer)["/leitstand/run"] == mounts(api)["/leitstand/run"] == ("run", "rw")
    assert trainer["user"] == api["user"]


def test_trainer_reads_the_patch_set_that_was_prepared_and_cannot_write_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    (written, write_mode), (read, read_mode) = (mounts(services[n])["/leitstand/data"] for n in ("prepare", "trainer"))

    assert (written, write_mode) == (read, "rw")
    assert read_mode == "ro"
    assert services["trainer"]["depends_on"] == {"prepare": {"condition": "service_completed_successfully"}}


def test_a_stop_leaves_time_to_save(compose: dict[str, Any]) -> None:
    trainer, api = compose["services"]["trainer"], compose["services"]["api"]
    until_ranks_are_killed = int(trainer["environment"]["TORCH_ELASTIC_SHUTDOWN_TIMEOUT"])

    assert trainer["stop_grace_period"] == api["stop_grace_period"] == "60s"
    assert 30 < until_ranks_are_killed < 60
    assert trainer["init"] is True


def test_a_finished_training_is_not_started_again_and_a_dead_api_is(compose: dict[str, Any]) -> None:
    assert compose["services"]["trainer"]["restart"].startswith("on-failure")
    assert compose["services"]["api"]["restart"] == "unless-stopped"


def test_api_is_healthy_when_livez_answers(compose: dict[str, Any]) -> None:
    *_, program = compose["services"]["api"]["healthcheck"]["test"]

    compile(program, "healthcheck", "exec")
    assert "http://127.0.0.1:5050/livez" in program


@pytest.mark.parametrize("name", OURS)
def test_containers_get_settings_that_are_accepted(repository: Path, compose: dict[str, Any], name: str) -> None:
    service = compose["services"][name]
    assert service["configs"] == [{"source": "settings", "target": service["environment"]["LEITSTAND_CONFIG"]}]
    settings_file = repository / compose["configs"]["settings"]["file"]

    config = load_config(settings_file, (), service["environment"]).config

    assert set(mounts(service)) <= set(CONTAINER_PATHS)
    inside = [config.dataset_root] if name == "prepare" else [config.data_root]
    assert all(any(path.is_relative_to(target) for target in mounts(service)) for path in inside)


def test_api_demands_the_token_that_prometheus_sends(repository: Path, compose: dict[str, Any]) -> None:
    environment = compose["services"]["api"]["environment"]
    config = load_config(None, (), environment).config
    prometheus = yaml.safe_load((repository / "deploy/prometheus/prometheus.yml").read_text())["scrape_configs"][0]

    assert (config.api_host, config.api_token) == ("0.0.0.0", "a-token")
    assert compose["secrets"] == {"api_token": {"environment": "API_TOKEN"}}
    assert prometheus["authorization"]["credentials_file"] == "/run/secrets/api_token"
    assert prometheus["static_configs"] == [{"targets": [f"api:{config.api_port}"]}]


def test_the_profile_gpu_adds_gpus_to_the_trainer_and_nothing_else(compose: dict[str, Any]) -> None:
    services = compose["services"]
    (device,) = services["trainer-gpu"]["deploy"]["resources"]["reservations"]["devices"]

    assert {**services["trainer-gpu"], "profiles": ["cpu"]} == {
        **services["trainer"],
        "deploy": services["trainer-gpu"]["deploy"],
    }
    assert device == {"driver": "nvidia", "count": "all", "capabilities": ["gpu"]}
    assert [name for name, service in services.items() if "deploy" in service] == ["trainer-gpu"]


def test_profiles_choose_one_trainer_and_leave_the_api_to_all(compose: dict[str, Any]) -> None:
    profiles = {name: set(service.get("profiles", ())) for name, service in compose["services"].items()}

    assert profiles == {
        "api": set(),
        "prepare": {"gpu", "cpu"},
        "trainer": {"cpu"},
        "trainer-gpu": {"gpu"},
        "prometheus": {"monitoring"},
        "grafana": {"monitoring"},
    }


def test_whatever_a_service_waits_for_is_started_with_it(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        for other in service.get("depends_on", ()):
            assert set(service["profiles"]) <= set(services[other]["profiles"])


def test_example_env_explains_every_variable_and_no_other(repository: Path) -> None:
    text = (repository / "docker-compose.yml").read_text()
    used = set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", text)) | {"COMPOSE_PROFILES"}

    named = re.findall(r"^(?:# )?([A-Z_]+)=", (repository / "deploy/example.env").read_text(), re.MULTILINE)

    assert sorted(named) == sorted(used)


def test_defaults_in_example_env_are_those_of_the_compose_file(repository: Path) -> None:
    defaults = dict(re.findall(r"\$\{([A-Z_]+):-([^${}]+)\}", (repository / "docker-compose.yml").read_text()))
    shown = dict(re.findall(r"^# ([A-Z_]+)=(.+)$", (repository / "deploy/example.env").read_text(), re.MULTILINE))

    for name in ("RUN_UID", "RUN_GID", "SHM_SIZE", "API_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "SETTINGS_FILE"):
        assert shown[name] == defaults[name]
    assert shown["PROMETHEUS_RETENTION"] == defaults["PROMETHEUS_RETENTION"]


def test_variables_of_compose_are_no_settings_by_accident(repository: Path) -> None:
    """A shell that has `.env` exported must still be able to run `leitstand`."""
    names = re.findall(r"^(?:# )?([A-Z_]+)=", (repository / "deploy/example.env").read_text(), re.MULTILINE)
    settings = {name for name in names if hasattr(RunConfig, name.lower())}

    assert settings == {"API_TOKEN", "API_PORT"}  # which mean the same there
    assert not any(name.startswith("LEITSTAND_") for name in names)


def test_settings_shown_in_the_settings_file_are_accepted_when_uncommented(repository: Path, tmp_path: Path) -> None:
    text = (repository / "deploy/run.toml").read_text()
    live = re.sub(r"^# ([A-Z_]+ = )", r"\1", text, flags=re.MULTILINE)
    assert live != text
    path = tmp_path / "run.toml"
    path.write_text(live)

    origins = SettingsSource(path).load({}).origins

    assert {"MAX_STEPS", "VIDEO_ROOT"} <= set(origins)


@pytest.mark.parametrize(("has_patches", "prepares"), [(True, False), (False, True)])
def test_a_patch_set_that_is_there_is_not_prepared_again(
    tmp_path: Path, compose: dict[str, Any], has_patches: bool, prepares: bool
) -> None:
    """The service's own shell line, with a stand-in for `leitstand` on the path."""
    dataset = tmp_path / "data" / "default"
    (dataset / ("Patches/GT" if has_patches else "")).mkdir(parents=True)
    stand_in = tmp_path / "bin" / "leitstand"
    stand_in.parent.mkdir()
    stand_in.write_text('#!/bin/sh\necho "$@"\n')
    stand_in.chmod(0o755)
    environment = {"PATH": f"{stand_in.parent}:{os.environ['PATH']}", "LEITSTAND_DATASET_ROOT": str(dataset)}

    command = compose["services"]["prepare"]["command"]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)

    assert result.stdout == ("prepare\n" if prepares else "")
