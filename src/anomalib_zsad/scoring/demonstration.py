"""What every output says where it was made with the embedded backbone."""

from collections.abc import Mapping
from typing import Any

from anomalib_zsad.backbone.config import DEMO

NOTICE = (
    "A demonstration, not a product: the embedded backbone has seen drawings and pictures of materials alone. "
    "Its scores say nothing about real products or patients."
)


def demonstration_notice(model: Mapping[str, Any]) -> str:
    """The notice, or nothing where the model has another backbone.

    Args:
        model: What a scorer says of itself (`SliceScorer.describe`).
    """
    return NOTICE if model.get("backbone") == DEMO else ""
