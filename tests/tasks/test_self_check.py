"""The check of fast paths: what counts as a difference, the sentence about it, and what it leaves untouched."""

from importlib import metadata

import pytest
import torch

from tasks.self_check import difference

X = torch.tensor([1.0, 200.0, -3.0])


def check(fast, reference=lambda: X, **settings):
    return difference(fast, reference, what="PyTorch's fast path", library="transformers", **settings)


@pytest.mark.parametrize("by", [0.0, 1e-5, -9e-4])
def test_rounding_is_no_difference(by):
    assert check(lambda: X * (1 + by)) is None
    assert check(lambda: torch.tensor([float("nan")]), lambda: torch.tensor([float("nan")])) is None


def test_a_difference_is_said_with_the_versions():
    versions = metadata.version("transformers"), metadata.version("torch")
    assert check(lambda: X + 0.3) == (
        f"PyTorch's fast path differs from transformers {versions[0]}'s own forward by 0.3 (torch {versions[1]}): "
        "the library's is used"
    )
    assert "by nan" in check(lambda: X * torch.nan)
    assert check(lambda: X + 0.3, tolerance=0.2) is None


def test_a_fast_path_that_fails_is_said_in_one_line():
    def renamed():
        raise AttributeError("no attribute 'q_proj'\nat all")

    line = check(renamed)
    assert line.startswith("PyTorch's fast path fails beside transformers")
    assert "AttributeError" in line
    assert "\n" not in line
    assert "fails beside" in check(lambda: torch.ones(7))  # another shape


def test_full_memory_is_no_difference():
    def full():
        raise MemoryError

    with pytest.raises(MemoryError):
        check(full)


def test_a_choice_that_rounding_turns_at_one_seed_is_no_difference():
    assert check(lambda: torch.rand(1).round(), lambda: torch.rand(1).round()) is None
    calls = iter([X + 1, X])
    assert check(lambda: next(calls)) is None


def test_the_random_state_is_left_as_it_was_and_no_gradient_is_recorded():
    torch.manual_seed(4)
    before, weight = torch.get_rng_state(), torch.ones(3, requires_grad=True)
    assert check(lambda: weight * torch.rand(3), lambda: weight * torch.rand(3)) is None
    assert torch.equal(torch.get_rng_state(), before)
    assert weight.grad is None
