"""A trained network written for other programs, and read again."""

import sys
from pathlib import Path

import pytest
import torch

from ddp.checkpoint.network_shape import shape_of
from ddp.inference.export import work
from ddp.inference.export.__main__ import main
from ddp.inference.export.work import export, largest_difference
from ddp.inference.network import TrainedNetwork, open_network
from ddp.inference.upscale.enlarger import Enlarger
from ddp.workload import load_network
from service.config.settings import RunConfig
from service.errors import UserError
from tests.ddp.harness.full_folder import full_folder
from tests.ddp.inference.conftest import trained

CONFIG = RunConfig()
ONNX_PACKAGES = ("onnx", "onnxscript", "onnxruntime")


def needs_onnx() -> None:
    for name in ONNX_PACKAGES:
        pytest.importorskip(name)


def scrambled_in_memory() -> TrainedNetwork:
    """The same weights as `trained()`, in other layouts."""
    network = trained()
    network.module.to(memory_format=torch.channels_last)
    with torch.no_grad():
        fuse = network.module.get_submodule("backward_fuse")
        fuse.weight = torch.nn.Parameter(fuse.weight.transpose(0, 1).contiguous().transpose(0, 1), requires_grad=False)  # type: ignore[union-attr,operator]
    return network


@pytest.mark.parametrize("suffix", [".safetensors", ".onnx"])
def test_a_network_comes_back_with_the_same_pictures_and_equal_weights_are_equal_bytes(
    tmp_path: Path, suffix: str
) -> None:
    if suffix == ".onnx":
        needs_onnx()
    network = trained()
    sentence = export(network, tmp_path / f"a{suffix}", replaces=False)
    export(scrambled_in_memory(), tmp_path / f"b{suffix}", replaces=False)

    read = open_network(CONFIG, tmp_path, tmp_path / f"a{suffix}")

    assert "compared" in sentence or "opset 18" in sentence
    assert (tmp_path / f"a{suffix}").read_bytes() == (tmp_path / f"b{suffix}").read_bytes()
    assert (read.n_frames, read.scale, read.reach, read.settings) == (5, 3, network.reach, network.settings)
    assert largest_difference(network, read.module) <= 1e-4


def test_an_onnx_file_says_its_opset_and_sizes_and_nothing_of_the_machine(tmp_path: Path) -> None:
    needs_onnx()
    import onnx

    export(trained(), tmp_path / "a.onnx", replaces=False)

    model = onnx.load(tmp_path / "a.onnx")
    onnx.checker.check_model(model, full_check=True)
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    (given,), (made,) = model.graph.input, model.graph.output
    assert (given.name, made.name) == ("lr", "picture")
    names = [part.dim_param or part.dim_value for part in given.type.tensor_type.shape.dim]
    assert names == ["batch", 5, 3, "height", "width"]
    assert b"/ddp/" not in (tmp_path / "a.onnx").read_bytes()
    assert str(Path.home()).encode() not in (tmp_path / "a.onnx").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(900)  # torch takes half a minute for the graph of the alignment, ten times that beside others
@pytest.mark.parametrize("name", ["single", "aligned"])
def test_every_network_can_be_exported_for_any_size(tmp_path: Path, name: str) -> None:
    needs_onnx()
    config = RunConfig(network=name, n_feats=4, n_blocks=2, scale=2)
    built = load_network(config)
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        for parameter in built.module.parameters():
            torch.nn.init.normal_(parameter, std=0.1)
    built.module.eval().requires_grad_(False)
    network = TrainedNetwork(built.module, shape_of(config), 5, 2, built.reach, name)

    export(network, tmp_path / "a.onnx", replaces=False)

    read = open_network(CONFIG, tmp_path, tmp_path / "a.onnx")
    assert (read.n_frames, read.scale, read.reach, read.settings) == (5, 2, built.reach, shape_of(config))
    assert largest_difference(network, read.module) <= 1e-4


def test_a_video_can_be_enlarged_with_an_onnx_file(tmp_path: Path) -> None:
    needs_onnx()
    network = trained()
    export(network, tmp_path / "a.onnx", replaces=False)
    window = [torch.randint(0, 256, (3, 30, 41), dtype=torch.uint8) for _ in range(5)]
    device = torch.device("cpu")
    expected = Enlarger(network, device).enlarge(window)
    read = open_network(CONFIG, tmp_path, tmp_path / "a.onnx")
    assert (Enlarger(read, device, tile=16).enlarge(window) - expected).abs().max() <= 1e-4


def test_pictures_that_differ_are_no_export(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    needs_onnx()
    monkeypatch.setattr(work, "TOLERANCE", -1.0)
    with pytest.raises(UserError, match="ONNX Runtime's pictures differ"):
        export(trained(), tmp_path / "a.onnx", replaces=False)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("missing", ONNX_PACKAGES)
def test_a_package_that_is_not_installed_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    for name in ONNX_PACKAGES[: ONNX_PACKAGES.index(missing)]:
        pytest.importorskip(name)
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(UserError, match=r"install the extra `leitstand\[export\]`"):
        export(trained(), tmp_path / "a.onnx", replaces=False)
    assert list(tmp_path.iterdir()) == []


def test_safetensors_need_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*ONNX_PACKAGES, "safetensors"):
        monkeypatch.setitem(sys.modules, name, None)
    export(trained(), tmp_path / "a.safetensors", replaces=False)
    assert open_network(CONFIG, tmp_path, tmp_path / "a.safetensors").scale == 3


def test_an_existing_file_is_replaced_only_if_asked_for_and_never_half(tmp_path: Path) -> None:
    target = tmp_path / "a.safetensors"
    target.write_text("precious")
    with pytest.raises(UserError, match="exists already"):
        export(trained(), target, replaces=False)
    assert target.read_text() == "precious"
    export(trained(), target, replaces=True)
    assert target.stat().st_size > 1000


def test_a_full_disk_is_one_sentence_and_no_file(tmp_path: Path) -> None:
    with full_folder(tmp_path / "full") as full:
        with pytest.raises(UserError, match=r"could not be written|is no folder"):
            export(trained(n_feats=8), full.path / "a.safetensors", replaces=False)
        assert not (full.path / "a.safetensors").exists()


@pytest.mark.parametrize("name", ["a.pth", "a", "nowhere/a.onnx"])
def test_an_output_that_cannot_be_is_one_sentence(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError, match=r"take .safetensors or .onnx|is no folder"):
        export(trained(), tmp_path / name, replaces=False)


def test_the_command_says_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    export(trained(), tmp_path / "a.safetensors", replaces=False)
    target = tmp_path / "b.safetensors"

    assert main([str(target), "--from", str(tmp_path / "a.safetensors")]) == 0
    assert f"{target} is written: {tmp_path / 'a.safetensors'}; 20 tensors" in capsys.readouterr().out
    assert target.read_bytes() == (tmp_path / "a.safetensors").read_bytes()
    assert main([str(target), "--from", str(tmp_path / "a.safetensors")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("content", [b"", b"no file of ONNX"])
def test_what_is_no_onnx_file_is_one_sentence(tmp_path: Path, content: bytes) -> None:
    needs_onnx()
    (tmp_path / "a.onnx").write_bytes(content)
    with pytest.raises(UserError, match=r"a\.onnx cannot be used: it is no ONNX file that can be run"):
        open_network(CONFIG, tmp_path, tmp_path / "a.onnx")
