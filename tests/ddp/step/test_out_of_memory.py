"""Running out of memory: the batch that fits is found by trying, and the sentence says what to set."""

import pytest
import torch

from ddp.step.out_of_memory import is_out_of_memory, largest_fitting_batch, out_of_memory_sentence
from service.config.settings import RunConfig


@pytest.mark.parametrize("fits", [0, 1, 2, 3, 8])
def test_the_largest_half_that_fits_is_found(fits: int) -> None:
    tried = []

    def attempt(size: int) -> None:
        tried.append(size)
        if size > fits:
            raise torch.OutOfMemoryError("CUDA out of memory.")

    assert largest_fitting_batch(attempt, 8) == {0: 0, 1: 1, 2: 2, 3: 2, 8: 8}[fits]
    assert tried[0] == 8


def test_another_error_while_trying_is_not_swallowed() -> None:
    def attempt(_size: int) -> None:
        raise RuntimeError("shapes do not match")

    with pytest.raises(RuntimeError, match="shapes"):
        largest_fitting_batch(attempt, 4)


def test_a_host_that_cannot_allocate_is_recognised_in_torchs_own_words() -> None:
    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60)

    assert is_out_of_memory(caught.value)
    assert not is_out_of_memory(RuntimeError("mat1 and mat2 shapes cannot be multiplied"))


def test_the_sentence_names_settings_that_keep_the_samples_per_step() -> None:
    text = out_of_memory_sentence(3, "cuda:3", RunConfig(batch_size=8, accumulation_steps=2), 2)

    assert text.startswith("Rank 3 ran out of memory on cuda:3 with BATCH_SIZE 8; 2 fits: ")
    assert "BATCH_SIZE=2 and ACCUMULATION_STEPS=8" in text
    assert "ACTIVATION_CHECKPOINTING=true" in text


def test_a_single_sample_that_does_not_fit_is_said_so() -> None:
    text = out_of_memory_sentence(0, "cpu", RunConfig(activation_checkpointing=True, precision="bfloat16"), 0)

    assert "a single sample does not fit either" in text
    assert "ACTIVATION" not in text
