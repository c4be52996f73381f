"""Whole evaluations of both methods over a small CLIP, against the published evaluation written out plainly."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.ndimage import gaussian_filter
from sklearn.metrics import average_precision_score, roc_auc_score

from anomalib_zsad.evaluation.evaluate import Subject, evaluate
from anomalib_zsad.evaluation.results import CategoryResult
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.subject import build_subject
from anomalib_zsad.evaluation.targets import path_target
from tests.models.small import write_backbone

CLIP = {
    "embed_dim": 64,
    "vision_width": 128,
    "vision_layers": 4,
    "text_width": 64,
    "text_layers": 3,
    "patch_size": 8,
    "grid": 4,
}


@pytest.fixture(autouse=True)
def _same_weights() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="module")
def backbone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return write_backbone(tmp_path_factory.mktemp("clip"), 3, CLIP)


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Textures, half of them with a spot; larger than the model's input, and not square."""
    root = tmp_path_factory.mktemp("data") / "parts"
    generator = np.random.default_rng(0)
    for index in range(8):
        pixels = generator.integers(60, 120, (48, 64, 3), dtype=np.uint8)
        abnormal = index % 2 == 1
        if abnormal:
            pixels[8:20, 30:52] = 230
            mask = np.zeros((48, 64), dtype=np.uint8)
            mask[8:20, 30:52] = 255
            path = root / "screw" / "ground_truth" / "spot" / f"{index}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(mask).save(path)
        path = root / "screw" / "test" / ("spot" if abnormal else "good") / f"{index}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return root


def result_of(subject: Subject, tree: Path, output: Path, protocol: str) -> CategoryResult:
    return evaluate([subject], [path_target(tree)], output, Settings((protocol,), batch_size=3)).results[0]


@torch.no_grad()
def one_at_a_time(subject: Subject, tree: Path) -> tuple[list, np.ndarray, np.ndarray]:
    """Evidence, masks as published, and labels, image by image."""
    evidence, masks, labels = [], [], []
    for path in sorted((tree / "screw" / "test").glob("*/*.png")):
        resized = Image.open(path).resize((32, 32), Image.Resampling.BICUBIC)
        image = torch.from_numpy(np.asarray(resized).copy()).permute(2, 0, 1).float() / 255
        evidence.append(subject.model.eval().evidence(subject.transform(image)[None], ["screw"]))
        mask_path = tree / "screw" / "ground_truth" / "spot" / path.name
        mask = Image.open(mask_path) if mask_path.exists() else Image.new("L", (64, 48))
        masks.append(np.asarray(mask.resize((32, 32), Image.Resampling.BILINEAR)) > 127)
        labels.append(mask_path.exists())
    return evidence, np.stack(masks), np.array(labels)


def test_paper_protocol_of_bayes_pfl_is_the_published_computation(
    backbone: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    subject = build_subject(None, "BayesPFL", {**backbone, "num_samples": 2})
    evidence, masks, labels = one_at_a_time(subject, tree)
    maps = np.stack([one.unsmoothed_map[0, 0].numpy() for one in evidence])
    probability = np.array([float(one.image_probability) for one in evidence])
    top = np.array([np.sort(one.ravel())[-20:].mean() for one in maps])  # "screw" is one of the small categories
    scaled = [(part - part.min()) / (part.max() - part.min() + 1e-8) for part in (probability, top)]
    scores = 0.5 * scaled[0] + 0.5 * scaled[1]
    smoothed = np.stack([gaussian_filter(one, sigma=8) for one in maps])
    result = result_of(subject, tree, tmp_path, "paper")
    assert result.metrics["image_AUROC"] == pytest.approx(roc_auc_score(labels, scores))
    assert result.metrics["image_AP"] == pytest.approx(average_precision_score(labels, scores))
    assert result.metrics["pixel_AUROC"] == pytest.approx(roc_auc_score(masks.ravel(), smoothed.ravel()), abs=1e-3)
    expected = average_precision_score(masks.ravel(), smoothed.ravel())
    assert result.metrics["pixel_AP"] == pytest.approx(expected, abs=1e-3)


def test_paper_protocol_of_cops_is_the_published_computation(
    backbone: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    subject = build_subject(None, "CoPS", {**backbone, "num_samples": 2, "extractor_heads": 4, "alpha": 0.9})
    result = result_of(subject, tree, tmp_path, "paper")
    published = build_subject(None, "CoPS", {**backbone, "num_samples": 2, "extractor_heads": 4})
    published.model.load_state_dict(subject.model.state_dict() | {"_extra_state": published.model.get_extra_state()})
    evidence, masks, labels = one_at_a_time(published, tree)
    maps = np.stack([one.unsmoothed_map[0, 0].numpy() for one in evidence])
    probability = np.array([float(one.image_probability) for one in evidence])
    scores = 0.9 * probability + 0.1 * maps.max((1, 2))
    smoothed = np.stack([gaussian_filter(one, sigma=4) for one in maps])
    assert result.metrics["image_AUROC"] == pytest.approx(roc_auc_score(labels, scores))
    assert result.metrics["pixel_AUROC"] == pytest.approx(roc_auc_score(masks.ravel(), smoothed.ravel()), abs=1e-3)
    assert subject.model.constants.alpha == 0.9


@pytest.mark.parametrize(("method", "arguments"), [("BayesPFL", {}), ("CoPS", {"extractor_heads": 4})])
def test_deployable_scores_are_those_a_user_gets(
    method: str, arguments: dict, backbone: dict[str, str], tree: Path, tmp_path: Path
) -> None:
    subject = build_subject(None, method, {**backbone, "num_samples": 2, **arguments})
    scores, labels = [], []
    for path in sorted((tree / "screw" / "test").glob("*/*.png")):
        image = torch.from_numpy(np.asarray(Image.open(path)).copy()).permute(2, 0, 1).float() / 255
        with torch.no_grad():
            answer = subject.model.eval()(subject.transform(image)[None], ["screw"])
        scores.append(float(answer.pred_score))
        labels.append(path.parent.name == "spot")
    result = result_of(subject, tree, tmp_path, "deployable")
    assert result.metrics["image_AUROC"] == pytest.approx(roc_auc_score(labels, scores))


def test_argument_that_a_model_does_not_have_is_refused(backbone: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="BayesPFL has no argument num_sample; it has backbone"):
        build_subject(None, "BayesPFL", {**backbone, "num_sample": 2})
