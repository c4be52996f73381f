"""Fixtures of the evaluation's tests."""

from collections.abc import Callable

import pytest
from torch import Tensor

from tests.evaluation.evaluation_samples import FakeModel


@pytest.fixture
def fake_model() -> FakeModel:
    """A model whose answers can be read off the images."""
    return FakeModel().eval()


@pytest.fixture
def identity() -> Callable[[Tensor], Tensor]:
    """A transform that leaves images as they are."""
    return lambda image: image
