"""PRECISION: what is computed in bfloat16, and what is said of it."""

from collections.abc import Mapping

import pytest
import torch

from ddp.step.precision import autocast, has_bfloat16, is_bfloat16, notice

CPU = torch.device("cpu")


def with_cpu(monkeypatch: pytest.MonkeyPatch, capabilities: Mapping[str, bool]) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)


@pytest.mark.parametrize("name", ["avx512_bf16", "amx_bf16", "arm_bf16"])
def test_a_cpu_with_bfloat16_computes_in_it_where_that_is_left_to_it(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    with_cpu(monkeypatch, {"avx2": True, name: True})

    assert [is_bfloat16(setting, CPU) for setting in ("auto", "bfloat16", "float32")] == [True, True, False]
    assert notice("auto", CPU) == "PRECISION=auto: the network computes in bfloat16."
    assert notice("bfloat16", CPU) is None


def test_a_cpu_without_it_computes_in_float32_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cpu(monkeypatch, {"avx2": True, "avx512_bf16": False})

    assert not has_bfloat16(CPU)
    assert [is_bfloat16(setting, CPU) for setting in ("auto", "bfloat16")] == [False, True]
    assert notice("auto", CPU) == "This CPU has no bfloat16 arithmetic: the network computes in float32."
    assert "PRECISION=bfloat16 is slow here" in (notice("bfloat16", CPU) or "")
    assert notice("float32", CPU) is None


def test_a_pytorch_that_does_not_tell_is_taken_for_one_without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)

    assert not has_bfloat16(CPU)


def test_the_context_is_autocast_for_bfloat16_only(monkeypatch: pytest.MonkeyPatch) -> None:
    with_cpu(monkeypatch, {"avx512_bf16": True})
    product = {}
    for setting in ("float32", "auto"):
        with autocast(setting, CPU):
            product[setting] = (torch.ones(2, 2) @ torch.ones(2, 2)).dtype

    assert product == {"float32": torch.float32, "auto": torch.bfloat16}
