"""The published learning rates and their schedule."""

import math
from typing import Literal

Group = Literal["prompt", "flow", "temperature", "head", "other"]

# Parameters that stage 2 trains, and those that only it trains, by the beginning of their names.
IMAGE_HEAD = ("class_mapping.", "image_mapping.", "fusion.")
STAGE_2_ONLY = ("image_mapping.", "fusion.")

# Learning rate of each group, as a multiple of the one of prompts and flows.
SCALES: dict[Group, float] = {"prompt": 1.0, "flow": 1.0, "temperature": 10.0, "head": 0.1, "other": 0.1}


def group_of(name: str) -> Group:
    """Optimiser group of a parameter of the torch model, by its name."""
    if name.startswith("prompts."):
        return "prompt"
    if name.startswith("temperature_"):
        return "temperature"
    if name.startswith(IMAGE_HEAD):
        return "head"
    if "_flow." in name and ".base." not in name:
        return "flow"
    return "other"


def is_at_rest(name: str, stage: int) -> bool:
    """Whether a stage leaves a parameter alone."""
    return name.startswith(STAGE_2_ONLY) if stage == 1 else not name.startswith(IMAGE_HEAD)


def multiplier(step: int, total: int) -> float:
    """Share of its learning rate that a step of stage 1 uses.

    A tenth of the steps, cut to a whole number, warms up linearly; half a cosine follows, and 0 after the last step.

    Quirk kept for parity: the first step has rate 0. It moves nothing, but Adam's moments see its gradient.

    Args:
        step: The step, counted from 0.
        total: Steps of the whole schedule.
    """
    warm_up = int(total / 10)
    if step < warm_up:
        return step / warm_up
    return 0.5 * (1 + math.cos(math.pi * min(1.0, (step - warm_up) / max(1, total - warm_up))))
