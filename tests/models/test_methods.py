"""How a method is named: as anomalib names models, or by its class path."""

import pytest
import torch

from anomalib_zsad import BayesPFL, CoPS
from anomalib_zsad.models.components.checkpoint import CheckpointError
from anomalib_zsad.models.methods import find_method, method_of, methods


def test_methods_are_those_that_anomalib_knows_and_that_are_zero_shot_models() -> None:
    known = methods()
    assert (known["BayesPFL"], known["CoPS"]) == (BayesPFL, CoPS)
    assert "Padim" not in known


@pytest.mark.parametrize("name", ["BayesPFL", "bayespfl", "bayes_pfl", "anomalib_zsad.BayesPFL"])
def test_names(name: str) -> None:
    assert find_method(name) is BayesPFL


def test_an_unknown_name_is_told_with_those_that_are_known() -> None:
    with pytest.raises(ValueError, match=r"there is no model 'WinClip'; give BayesPFL, CoPS.*, or a class path"):
        find_method("WinClip")
    with pytest.raises(ValueError, match=r"there is no model 'no_such_package\.Model': No module named"):
        find_method("no_such_package.Model")
    with pytest.raises(ValueError, match=r"anomalib\.models\.Padim is no zero-shot model"):
        find_method("anomalib.models.Padim")


def test_a_published_file_says_its_method_by_its_key(tmp_path) -> None:
    for key, cls in (("MyModel", BayesPFL), ("prompt_learner", CoPS)):
        torch.save({key: {}}, tmp_path / "published.pth")
        assert method_of(tmp_path / "published.pth") is cls
    torch.save({"weights": {}}, tmp_path / "other.pth")
    with pytest.raises(CheckpointError, match=r"is no checkpoint of BayesPFL or CoPS.*It holds: weights"):
        method_of(tmp_path / "other.pth")
