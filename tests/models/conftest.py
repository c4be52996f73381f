"""Fixtures of the model tests."""

import pytest

from tests.models.small import write_backbone
from tests.models.tester import CLIP


@pytest.fixture(scope="session")
def small_backbone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Arguments `backbone` and `pretrained` of the small CLIP."""
    return write_backbone(tmp_path_factory.mktemp("clip"), 20, CLIP)
