"""The configs as anomalib's own entry point reads them."""

from pathlib import Path
from typing import Any

import pytest
from anomalib.cli import AnomalibCLI

CONFIGS = Path(__file__).parents[2] / "configs"


def parse(*arguments: Any) -> Any:
    """What a command line of `anomalib` comes to, as its parser says it; nothing is built."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(AnomalibCLI, "before_instantiate_classes", lambda _self: None)
        patch.setattr(AnomalibCLI, "instantiate_classes", lambda _self: None)
        words = [*map(str, arguments)]
        return AnomalibCLI(words, run=False).config[words[0]]


def model_arguments(name: str) -> dict[str, Any]:
    """Arguments of the model of a config."""
    return parse("train", "--config", CONFIGS / f"{name}.yaml").model.init_args.as_dict()
