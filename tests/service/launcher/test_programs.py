"""Command lines and environments of what is started."""

import socket
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from service.config.settings import RunConfig
from service.errors import DatasetError, SettingError, UserError
from service.launcher import programs
from service.launcher.ports import address_text, require_free_port
from service.launcher.programs import (
    SettingsSource,
    api_program,
    count_devices,
    count_ranks,
    holds_patches,
    inference_program,
    packing_program,
    preparation_program,
    require_patches,
    trainer_program,
)


def test_every_process_of_one_start_reads_the_same_settings(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text("N_FEATS = 8\nN_BLOCKS = 4\nBATCH_SIZE = 3\n")
    source = SettingsSource(file, ("n_blocks=6", "SAVE_STEP_EVERY=7"))
    environment = {"BATCH_SIZE": "2", "N_BLOCKS": "99", "LEITSTAND_CHECKPOINT_EVERY": "9", "PATH": "/bin"}

    program = api_program(source, environment)
    mine = source.load(environment).config
    the_apis = SettingsSource(Path(program.environment["LEITSTAND_CONFIG"])).load(program.environment).config

    assert mine == the_apis
    assert (mine.n_feats, mine.n_blocks, mine.batch_size, mine.checkpoint_every) == (8, 6, 2, 7)
    assert program.environment["PATH"] == "/bin"


def test_an_override_replaces_every_spelling_in_the_apis_environment() -> None:
    source = SettingsSource(None, ("CHECKPOINT_EVERY=7", "API_TOKEN="))
    environment = {"SAVE_STEP_EVERY": "1", "LEITSTAND_SAVE_STEP_EVERY": "2", "CHECKPOINT_EVERY": "3", "API_TOKEN": "x"}

    passed = api_program(source, environment).environment

    assert passed == {"LEITSTAND_CHECKPOINT_EVERY": "7", "LEITSTAND_API_TOKEN": ""}


def test_the_trainer_is_torchrun_with_the_settings_and_its_threads() -> None:
    source = SettingsSource(Path("run.toml"), ("A=1", "B=x y"))

    program = trainer_program(
        source,
        RunConfig(threads_per_rank=4, data_root=Path("r")),
        3,
        {"HOME": "/h", "OMP_NUM_THREADS": "9"},
        "--fresh",
        restarts=3,
    )

    assert program.command == (
        sys.executable, "-m", "service.launcher.torchrun", "--standalone", "--nproc-per-node=3", "--max-restarts=3",
        "-m", "ddp",
        "--config", "run.toml", "--set", "A=1", "--set", "B=x y", "--fresh",
    )  # fmt: skip
    assert program.environment == {
        "HOME": "/h", "OMP_NUM_THREADS": "4", "TORCHRUN_RUN_DIRECTORY": "r", "TORCHRUN_FORK_SERVER": "1",
    }  # fmt: skip


def test_ranks_are_new_processes_where_the_settings_say_so() -> None:
    program = trainer_program(SettingsSource(), RunConfig(fork_server=False), 2, {}, None)

    assert program.environment["TORCHRUN_FORK_SERVER"] == ""


def test_without_file_overrides_and_start_the_trainer_gets_no_arguments() -> None:
    assert trainer_program(SettingsSource(), RunConfig(), 1, {}, None).command[-2:] == ("-m", "ddp")


@pytest.mark.parametrize(
    ("config", "films"),
    [
        (RunConfig(), ("--clips", "small")),
        (RunConfig(clips="film"), ("--clips", "film")),
        (RunConfig(video_root="/my films", clips="film"), ("--videos", "/my films")),
    ],
)
def test_the_preparation_reads_own_videos_before_clips(config: RunConfig, films: tuple[str, ...]) -> None:
    assert preparation_program(config, {}).command[-2:] == films


def test_the_preparation_gets_counts_only_if_they_were_chosen() -> None:
    def counts(config: RunConfig) -> list[str]:
        return [word for word in preparation_program(config, {}).command if "-count" in word]

    assert counts(RunConfig()) == []
    assert counts(RunConfig(patch_count=900, val_count=3)) == ["--patch-count=900", "--val-count=3"]
    assert "--hdr=leave-out" in preparation_program(RunConfig(hdr="leave-out"), {}).command
    assert "--degradation=blur-down" in preparation_program(RunConfig(degradation="blur-down"), {}).command


def test_a_folder_without_patches_is_no_dataset(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"holds no patch set: run `leitstand prepare`"):
        require_patches(tmp_path)
    (tmp_path / "Patches" / "GT").mkdir(parents=True)

    require_patches(tmp_path)


def test_ranks_can_be_given() -> None:
    assert count_ranks("3", RunConfig()) == 3


@pytest.mark.parametrize("wanted", ["0", "-1", "two", "", "1.5", "²", "AUTO"])
def test_ranks_that_are_no_number_are_refused(wanted: str) -> None:
    with pytest.raises(SettingError, match="must be auto or a whole number from 1"):
        count_ranks(wanted, RunConfig())


@pytest.mark.parametrize(
    ("devices", "device", "ranks"), [(8, "auto", 8), (0, "auto", 2), (8, "cpu", 2), (1, "cuda", 1)]
)
def test_auto_is_one_rank_per_device_and_two_without(
    monkeypatch: pytest.MonkeyPatch, devices: int, device: str, ranks: int
) -> None:
    monkeypatch.setattr(programs, "COUNT_DEVICES", (sys.executable, "-c", f"print({devices})"))

    assert count_ranks("auto", RunConfig(device=device)) == ranks


def test_cuda_without_a_device_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "COUNT_DEVICES", (sys.executable, "-c", "print(0)"))

    with pytest.raises(SettingError, match="torch sees no CUDA device"):
        count_ranks("auto", RunConfig(device="cuda"))


@pytest.mark.parametrize(
    ("code", "said"),
    [
        ("import nothing_of_this_name", "No module named"),
        ("print('warning')", "invalid literal"),
        ("exit(3)", "status 3"),
    ],
)
def test_a_torch_that_cannot_be_used_is_one_sentence(monkeypatch: pytest.MonkeyPatch, code: str, said: str) -> None:
    monkeypatch.setattr(programs, "COUNT_DEVICES", (sys.executable, "-c", code))

    with pytest.raises(
        UserError, match=rf"torch cannot be used \(.*{said}.*\); `pip install 'leitstand\[train\]'` brings it"
    ):
        count_devices()


def test_torch_itself_counts_the_devices() -> None:
    assert count_devices() >= 0


def test_a_port_that_lingers_after_a_server_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)):
            server.accept()[0].close()  # the side that closes first keeps the port in TIME_WAIT

    require_free_port("127.0.0.1", port)


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid"])
def test_an_address_of_another_machine_is_refused(host: str) -> None:
    with pytest.raises(SettingError, match=f"API_HOST is '{host}', which is not an address of this machine"):
        require_free_port(host, 5050)


def test_a_port_below_1024_that_is_not_permitted_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_self: socket.socket, _address: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)  # root may open any port

    with pytest.raises(SettingError, match="Port 80 may not be opened by this user; choose one from 1024"):
        require_free_port("127.0.0.1", 80)


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1", "http://127.0.0.1:5050/"),
        ("::1", "http://[::1]:5050/"),
        ("0.0.0.0", f"http://{socket.gethostname()}:5050/"),
    ],
)
def test_the_address_can_be_typed_into_a_browser(host: str, address: str) -> None:
    assert address_text(host, 5050) == address


def test_building_command_lines_leaves_the_given_environment_alone() -> None:
    environment: Mapping[str, str] = {"API_TOKEN": "x"}

    api_program(SettingsSource(None, ("API_TOKEN=y",)), environment)
    trainer_program(SettingsSource(), RunConfig(), 1, environment, None)

    assert environment == {"API_TOKEN": "x"}


def test_a_program_of_inference_gets_what_was_wished_and_never_takes_a_file_for_an_option() -> None:
    wishes = {"run": None, "from": "-w.pth", "tile": 0, "no_sound": True, "replace": False}
    source = SettingsSource(Path("run.toml"), ("DEVICE=cpu",))

    program = inference_program("upscale", source, (Path("-in.mp4"), Path("-out.mp4")), wishes, {"A": "1"})

    options = ("--config", "run.toml", "--set", "DEVICE=cpu", "--from=-w.pth", "--tile=0", "--no-sound")
    assert program.command == (
        sys.executable, "-m", "ddp.inference.upscale", *options, "--", "-in.mp4", "-out.mp4",
    )  # fmt: skip
    assert program.environment == {"A": "1"}


def test_the_packing_program_packs_the_patch_set_of_the_settings() -> None:
    config = RunConfig(dataset_root=Path("data/mine"), n_frames=7, scale=2)
    options = ("--dataset", "data/mine", "--scale", "2", "--frames", "7")
    command = (sys.executable, "-m", "ddp.vsr.feeding.pack", *options)
    assert packing_program(config, {}).command == command
    container = ("--container=shards", "--out=out")
    assert packing_program(config, {}, "shards", Path("out")).command == (*command, *container)


@pytest.mark.parametrize("path", ["Patches/GT/a.png", "Patches/GT.lmdb/data.mdb", "Patches/shard-000000.tar"])
def test_folders_databases_and_shards_are_patch_sets(tmp_path: Path, path: str) -> None:
    assert not holds_patches(tmp_path)
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).touch()
    assert holds_patches(tmp_path)
