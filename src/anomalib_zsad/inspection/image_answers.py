"""From prepared images to what is said of each: the model's answer, judged."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from anomalib_zsad.calibration.decision_rule import DecisionRule, Judgement
from anomalib_zsad.inspection.read_images import ReadImage
from anomalib_zsad.records.image_records import ImageRecord
from anomalib_zsad.scoring.image_scorer import ImageScorer
from anomalib_zsad.scoring.scores import SliceScores

# Longest side of the maps of pages. Those of models that see whole images are smaller.
_SHOWN_SIDE = 640


def answer_batch(scorer: ImageScorer, batch: Sequence[ReadImage]) -> SliceScores | None:
    """The model's answer for those images of a batch that could be read, in their order; `None` if there is none.

    Raises:
        ValueError: If the answer has the wrong shape or holds values that are no scores.
    """
    prepared = [item.prepared for item in batch if item.prepared is not None]
    if not prepared:
        return None
    answer = scorer(torch.stack(prepared))
    side = (int(answer.anomaly_map.shape[-2]), int(answer.anomaly_map.shape[-1]))
    answer.check(len(prepared), side)
    return answer


def judge_images(rule: DecisionRule, answer: SliceScores | None) -> list[Judgement]:
    """What a rule says of each score of an answer."""
    if answer is None:
        return []
    return rule.judge("image", answer.score.numpy(), None if answer.score_std is None else answer.score_std.numpy())


def image_record(
    item: ReadImage, answer: SliceScores, place: int, judged: Judgement, mask_threshold: float
) -> ImageRecord:
    """What is said of one image.

    Args:
        item: The image, which could be read.
        answer: Of its batch.
        place: Which of the answers is its.
        judged: What the rule says of its score.
        mask_threshold: From which value on a pixel of a map is marked.
    """
    heat = heat_of(answer, place)
    width, height = item.size
    record = ImageRecord(
        image=item.name,
        width=width,
        height=height,
        score=float(answer.score[place]),
        score_std=None if answer.score_std is None else float(answer.score_std[place]),
        p_value=judged.p_value,
        flagged=judged.flagged,
        decision=judged.decision,
        turned=item.turned,
        brightness=None if item.looks is None else item.looks.brightness,
        sharpness=None if item.looks is None else item.looks.sharpness,
    )
    if not answer.has_map:
        return record
    row, column = (int(number) for number in np.unravel_index(int(heat.argmax()), heat.shape))
    return replace(
        record,
        map_max=float(heat.max()),
        peak_x=(column + 0.5) / heat.shape[1] * width,
        peak_y=(row + 0.5) / heat.shape[0] * height,
        area_share=float(np.mean(heat >= mask_threshold)),
    )


def shown_map(values: torch.Tensor) -> NDArray[np.float32]:
    """A map (h, w) as pages show it: of one with a side above 640, the highest value of each block of pixels."""
    block = -(-max(values.shape) // _SHOWN_SIDE)
    if block == 1:
        return values.numpy()
    return torch.nn.functional.max_pool2d(values[None], block, ceil_mode=True)[0].numpy()


def heat_of(answer: SliceScores, place: int) -> NDArray[np.float32]:
    """The map of one image of an answer."""
    return answer.anomaly_map[place].numpy()
