"""What the commands of a station share: its model, and its log."""

import argparse
import logging
import sys
from typing import TYPE_CHECKING

from anomalib_zsad.cli.model_options import (
    check_trained,
    engine_options,
    load_scorer,
    say_loading,
    tile_options,
)

if TYPE_CHECKING:
    from anomalib_zsad.scoring.image_scorer import ImageScorer


def check_model(args: argparse.Namespace) -> None:
    """Refuse at once what makes no model that should answer.

    Raises:
        ValueError: If something does not fit.
    """
    check_trained(args)
    _ = engine_options(args), tile_options(args)


def load_image_scorer(args: argparse.Namespace) -> "ImageScorer":
    """The model that was asked for, ready to score images.

    Raises:
        ValueError: If it cannot be built.
        FileNotFoundError: If its files are missing.
    """
    say_loading(args)
    from anomalib_zsad.scoring.image_scorer import ModelImageScorer

    return ModelImageScorer(load_scorer(args))


def log_to_standard_error() -> None:
    """A station's own log; it names no files."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.getLogger("anomalib_zsad.station")
    logger.handlers = [handler]
    logger.setLevel(logging.INFO)
    logger.propagate = False
