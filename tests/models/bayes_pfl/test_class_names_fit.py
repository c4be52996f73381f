"""A class name is checked without an answer, and just those that an answer would refuse are refused."""

from contextlib import suppress

import pytest
import torch

from anomalib_zsad import BayesPFL


def refused(work: object) -> bool:
    with suppress(ValueError):
        work()  # type: ignore[operator]
        return False
    return True


@pytest.mark.parametrize("words", [1, 2])
def test_a_check_and_an_answer_agree_at_the_limit(words: int) -> None:
    model = BayesPFL(backbone="demo").eval().model
    side, told = model.backbone.image_size, []
    for count in range(1, 90):
        name = " ".join(["wheel" if words == 1 else "washer nut"] * count)
        told.append(refused(lambda name=name: model.check_class_name(name)))
    first = told.index(True)
    assert 0 < first < len(told) - 1
    assert all(told[first:])
    for count in (first, first + 1):
        name = " ".join(["wheel" if words == 1 else "washer nut"] * count)
        with torch.inference_mode():
            assert refused(lambda name=name: model(torch.zeros(1, 3, side, side), name)) is told[count - 1]
