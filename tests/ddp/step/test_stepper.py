"""One optimizer step and its features, each for what it promises, in a world of one; test_ranks.py has several."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ddp.distributed.environment import RankEnvironment
from ddp.distributed.world import World
from ddp.metrics.step_metrics import grad_norm, is_skipped, losses
from ddp.metrics.window import MetricsWindow
from ddp.step.stepper import Stepper
from ddp.vsr.losses import HybridLoss
from ddp.vsr.networks.recurrent import VSR
from ddp.watchdog.stages import StageMarker
from ddp.workload import Images, Share
from service.config.settings import RunConfig
from service.errors import MemoryShortageError, SettingError

WEIGHTS = (0.6, 0.2, 0.2, 0.0)
SMALL = {"n_feats": 4, "n_blocks": 4, "batch_size": 4, "weight_decay": 0.01}


class Pixels:
    """A micro-batch of random pixels."""

    skipped: tuple[str, ...] = ()

    def __init__(self, config: RunConfig, seed: int, size: int = 8) -> None:
        generator = torch.Generator().manual_seed(seed)
        batch, frames, big = config.batch_size, config.n_frames, size * config.scale
        self.lr = torch.randint(0, 256, (batch, frames, 3, size, size), generator=generator).byte()
        self.gt = torch.randint(0, 256, (batch, 3, big, big), generator=generator).byte()


class Plain:
    """A workload without files."""

    sample_count = 100
    validation_images: Images
    left_out: tuple[str, ...] = ()
    notices: tuple[str, ...] = ()
    has_perceptual = False

    def __init__(self, config: RunConfig) -> None:
        self.config = config

    def build_model(self) -> nn.Module:
        config = self.config
        torch.manual_seed(0)
        model = VSR(config.n_feats, config.n_blocks, config.n_frames, config.scale, config.activation_checkpointing)
        with torch.no_grad():  # the last layer begins at zero: then only it would learn in the first step
            for parameter in model.parameters():
                parameter.add_(0.02 * torch.randn_like(parameter))
        return model

    def build_loss(self) -> nn.Module:
        return HybridLoss(None)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        return [{"params": list(model.parameters())}]

    def batches(self, share: Share) -> Iterator[Pixels]:
        return (Pixels(self.config, seed) for seed in range(share.samples_seen, 10**6))

    def layers(self, _model: nn.Module) -> Mapping[str, nn.Module]:
        return {}

    def enlarge(self, lr: Tensor) -> Tensor:
        raise NotImplementedError

    def score(self, picture: Tensor, target: Tensor) -> Mapping[str, Tensor]:
        raise NotImplementedError


class Bench:
    """A stepper at work."""

    def __init__(self, **values: Any) -> None:
        self.config = RunConfig(**{**SMALL, **values})
        self.world = World(RankEnvironment(), torch.device("cpu"))
        self.workload = Plain(self.config)
        self.stepper = Stepper(self.world, self.config, self.workload, StageMarker())
        self.window = MetricsWindow(self.world)
        self.batches: Iterator[Any] = self.workload.batches(Share(0, 1, 0))

    def step(self, times: int = 1, learning_rate: float = 1e-3, grad_clip: float = 1e6) -> Tensor:
        for _ in range(times):
            row = self.stepper.make_step(
                self.batches, WEIGHTS, learning_rate, grad_clip, self.window, before_update=lambda: None
            )
        return row

    def weights(self) -> Tensor:
        return torch.cat([parameter.detach().flatten() for parameter in self.stepper.model.parameters()])


def outputs_of(model: nn.Module, kind: type[nn.Module], note: Callable[[Tensor], None]) -> None:
    """Call `note` with every output of the model's layers of a kind."""
    for module in model.modules():
        if isinstance(module, kind):
            module.register_forward_hook(lambda _module, _inputs, output: note(output))


def test_a_step_is_adamw_on_the_clipped_gradient_of_the_weighted_loss() -> None:
    """Against torch's own optimizer, by hand."""
    bench = Bench()
    model, loss = bench.workload.build_model(), bench.workload.build_loss()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.01)
    for seed in range(3):
        batch = Pixels(bench.config, seed)
        terms = loss(model(batch.lr.float() / 255), batch.gt.float() / 255)
        (terms * torch.tensor(WEIGHTS)).sum().backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), 0.05)
        optimizer.step()
        optimizer.zero_grad()
        row = bench.step(grad_clip=0.05)
        assert float(grad_norm(row)) == pytest.approx(float(norm), rel=1e-5)
        assert losses(row)[1:].tolist() == pytest.approx(terms.tolist(), rel=1e-5)

    expected = torch.cat([parameter.detach().flatten() for parameter in model.parameters()])
    torch.testing.assert_close(bench.weights(), expected, rtol=1e-5, atol=1e-6)


def test_accumulation_is_the_step_of_the_joined_batch() -> None:
    whole, parts = Bench(batch_size=4), Bench(batch_size=2, accumulation_steps=2)
    batch = Pixels(whole.config, 7)
    halves = []
    for part in (slice(0, 2), slice(2, 4)):
        half = Pixels(parts.config, 0)
        half.lr, half.gt = batch.lr[part], batch.gt[part]
        halves.append(half)
    whole.batches, parts.batches = iter([batch]), iter(halves)

    whole_row, parts_row = whole.step(), parts.step()

    torch.testing.assert_close(parts_row, whole_row, rtol=1e-5, atol=1e-7)
    torch.testing.assert_close(parts.weights(), whole.weights(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("fused", [True, False])
@pytest.mark.parametrize("damage", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_marked(fused: bool, damage: str) -> None:
    bench = Bench(fused_adamw=fused, ema_decay=0.5)
    bench.step(2)
    before = bench.weights().clone()
    average = bench.stepper.ema
    assert average is not None
    averaged = [parameter.clone() for parameter in average.model.parameters()]
    moments = [state["exp_avg"].clone() for state in bench.stepper.optimizer.state.values()]
    if damage == "loss":
        bad = Pixels(bench.config, 1)
        bad.gt = bad.gt.float() * float("inf")
        bench.batches = iter([bad])
        row = bench.step()
    else:
        first = next(bench.stepper.model.parameters())
        handle = first.register_hook(lambda gradient: gradient * float("nan"))
        row = bench.step()
        handle.remove()

    assert is_skipped(row)
    assert torch.equal(bench.weights(), before)
    for was, now in zip(averaged, average.model.parameters(), strict=True):
        assert torch.equal(was, now)
    for was, state in zip(moments, bench.stepper.optimizer.state.values(), strict=True):
        assert torch.equal(was, state["exp_avg"])
        assert state["step"] == 2
    bench.batches = bench.workload.batches(Share(0, 1, 50))
    assert not is_skipped(bench.step())
    assert not torch.equal(bench.weights(), before)


def test_a_skipped_step_counts_in_no_mean_of_the_window() -> None:
    bench = Bench()
    bad = Pixels(bench.config, 1)
    bad.gt = bad.gt.float() * float("nan")
    bench.batches = iter([Pixels(bench.config, 0), bad, Pixels(bench.config, 2)])
    rows = [bench.step(learning_rate=0.0) for _ in range(3)]
    for row in rows:
        bench.window.add(row)

    assert bench.window.summarise().total_loss == pytest.approx(
        float(losses(rows[0])[0] + losses(rows[2])[0]) / 2, rel=1e-6
    )


def test_the_unfused_optimizer_gives_the_same_weights() -> None:
    fused, unfused = Bench(fused_adamw=True), Bench(fused_adamw=False)
    fused.step(5)
    unfused.step(5)

    assert all(group["fused"] for group in fused.stepper.optimizer.param_groups)
    torch.testing.assert_close(fused.weights(), unfused.weights(), rtol=1e-5, atol=1e-6)


def test_bfloat16_runs_the_convolutions_in_bfloat16_and_keeps_weights_and_loss_in_float32() -> None:
    full, half = Bench(), Bench(precision="bfloat16")
    kinds = set()
    outputs_of(half.stepper.model, nn.Conv2d, lambda output: kinds.add(output.dtype))
    full_row, half_row = full.step(), half.step()

    assert kinds == {torch.bfloat16}
    assert half.weights().dtype == half_row.dtype == torch.float32
    torch.testing.assert_close(losses(half_row), losses(full_row), rtol=2e-2, atol=1e-4)


def test_channels_last_lays_the_feature_maps_out_so_and_gives_the_same_step() -> None:
    plain, last = Bench(), Bench(channels_last=True)
    layouts = set()
    outputs_of(
        last.stepper.model,
        nn.Conv2d,
        lambda output: layouts.add(output.is_contiguous(memory_format=torch.channels_last)),
    )
    plain.step(3)
    last.step(3)

    assert layouts == {True}
    torch.testing.assert_close(last.weights(), plain.weights(), rtol=1e-4, atol=1e-5)


def test_activation_checkpointing_keeps_less_and_gives_the_same_step() -> None:
    def kept_bytes(bench: Bench) -> int:
        kept = 0

        def pack(tensor: Tensor) -> Tensor:
            nonlocal kept
            kept += tensor.nelement() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            bench.step()
        return kept

    plain, saving = Bench(n_blocks=64), Bench(n_blocks=64, activation_checkpointing=True)

    assert kept_bytes(saving) < 0.5 * kept_bytes(plain)
    assert torch.equal(saving.weights(), plain.weights())


def test_the_averaged_weights_follow_and_are_another_copy() -> None:
    bench = Bench(ema_decay=0.9)
    average = bench.stepper.ema
    assert average is not None
    start = bench.weights().clone()
    bench.step()
    averaged = torch.cat([parameter.flatten() for parameter in average.model.parameters()])

    torch.testing.assert_close(averaged, 0.9 * start + 0.1 * bench.weights(), rtol=1e-5, atol=1e-7)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="torch.compile needs a C++ compiler: install g++")
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch.compile itself still uses it
def test_a_compiled_network_gives_the_same_step_under_plain_names() -> None:
    plain, compiled = Bench(n_blocks=2), Bench(n_blocks=2, compile_model=True)
    plain.step(2)
    compiled.step(2)

    torch.testing.assert_close(compiled.weights(), plain.weights(), rtol=1e-4, atol=1e-5)
    assert compiled.stepper.state()["model"].keys() == plain.stepper.state()["model"].keys()
    assert torch._dynamo.utils.counters["stats"]["unique_graphs"] >= 1
    assert not torch._dynamo.utils.counters["graph_break"]


@pytest.mark.parametrize("frames", [5, 7])
@pytest.mark.parametrize("scale", [2, 3, 4])
def test_five_and_seven_frames_and_all_scales_learn(frames: int, scale: int) -> None:
    bench = Bench(n_frames=frames, scale=scale)
    batch = Pixels(bench.config, 0)
    bench.batches = iter([batch] * 12)
    first, last = bench.step(learning_rate=5e-3), bench.step(11, learning_rate=5e-3)

    assert last[0] < 0.995 * first[0]


def test_static_graph_and_accumulation_are_refused_together() -> None:
    with pytest.raises(SettingError, match="STATIC_GRAPH does not go together with ACCUMULATION_STEPS, which is 3"):
        RunConfig(static_graph=True, accumulation_steps=3)


def test_running_out_of_memory_names_the_batch_that_fits() -> None:
    bench = Bench(batch_size=8)
    limit = 2

    def refuse(_module: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        if len(inputs[0]) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.")

    bench.stepper.model.register_forward_pre_hook(refuse)

    with pytest.raises(MemoryShortageError, match="BATCH_SIZE 8; 2 fits: set BATCH_SIZE=2 and ACCUMULATION_STEPS=4"):
        bench.step()


def test_a_state_is_taken_over_in_place_and_the_settings_of_the_start_stay() -> None:
    first, second = Bench(ema_decay=0.9), Bench(ema_decay=0.9, weight_decay=0.5)
    first.step(3)
    second.step(1)
    buffers = [parameter.data_ptr() for parameter in second.stepper.model.parameters()]

    second.stepper.restore(first.stepper.state())

    assert torch.equal(second.weights(), first.weights())
    assert [parameter.data_ptr() for parameter in second.stepper.model.parameters()] == buffers
    assert second.stepper.optimizer.param_groups[0]["weight_decay"] == 0.5
    assert next(iter(second.stepper.optimizer.state.values()))["step"] == 3


WAITING = ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__")


def test_a_step_never_waits_for_the_device(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whatever reads a value of a tensor back to the host is forbidden while steps are made."""
    bench = Bench(ema_decay=0.9, accumulation_steps=2)
    bench.step(2)  # the optimizer makes its state in the first

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("the host waited for the device")

    for name in WAITING:
        monkeypatch.setattr(Tensor, name, forbidden)
    for _ in range(3):
        bench.window.add(bench.step())
    monkeypatch.undo()

    assert bench.window.summarise().total_loss > 0
