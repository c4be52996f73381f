"""Published weights that are known: what they are, where their authors offer them, and how to recognise them.

Nothing is downloaded. What is not known is said to be unknown, never guessed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from anomalib_zsad.outputs.file_hash import file_sha256

UNKNOWN = "unknown"


@dataclass(frozen=True)
class KnownWeights:
    """A published weights file.

    Attributes:
        name: A name for it.
        method: "BayesPFL", "CoPS" or "backbone".
        file: Its file name as published.
        auxiliary_set: Set it was trained on; none for a backbone.
        intended_for: Sets that its authors test it on.
        constants: Constants that belong to it and are not in the file.
        licence: Licence its repository states.
        source: Where its authors offer it.
        size: Bytes; none if unknown.
        sha256: Checksum; none if unknown.
        checksum_from: Where the checksum comes from.
    """

    name: str
    method: str
    file: str
    auxiliary_set: str | None
    intended_for: str
    licence: str
    source: str
    constants: Mapping[str, float | int | str] = field(default_factory=dict)
    size: int | None = None
    sha256: str | None = None
    checksum_from: str = UNKNOWN


_BAYES_PFL: dict[str, Any] = {
    "method": "BayesPFL",
    "licence": "MIT (as the repository states)",
    "constants": {"backbone": "ViT-L-14-336", "pretrained": "openai", "image_size": 518, "stage": 2},
}
_COPS: dict[str, Any] = {
    "method": "CoPS",
    "licence": "MIT (as the repository states)",
    "size": 19_141_911,
    "checksum_from": "Git LFS pointer in the repository",
}
_BACKBONE: dict[str, float | int | str] = {"backbone": "ViT-L-14-336", "pretrained": "openai", "image_size": 518}

KNOWN_WEIGHTS = (
    KnownWeights(
        name="bayes-pfl-visa",
        file="train_visa.pth",
        auxiliary_set="VisA",
        intended_for="every set but VisA",
        source=(
            "https://github.com/xiaozhen228/Bayes-PFL, README, "
            "https://drive.google.com/file/d/1rNs_rdTmrg4JshmKHotq6AN1gqTpPjvm"
        ),
        **_BAYES_PFL,
    ),
    KnownWeights(
        name="bayes-pfl-mvtec",
        file="train_mvtec.pth",
        auxiliary_set="MVTecAD",
        intended_for="VisA",
        source=(
            "https://github.com/xiaozhen228/Bayes-PFL, README, "
            "https://drive.google.com/file/d/1EHa4jPi7r8jmRVURoZ4yH2-jqDt6K1Ni"
        ),
        **_BAYES_PFL,
    ),
    KnownWeights(
        name="cops-visa",
        file="epoch_10.pth",
        auxiliary_set="VisA",
        intended_for="every set but VisA",
        source="https://github.com/cqylunlun/CoPS, results/models/visa/epoch_10.pth",
        constants={**_BACKBONE, "neighbourhood": 5, "alpha": 0.26, "beta": 0.9},
        sha256="9fe3682d79f40b0acf8dde8808098e1365c161f8baefc0663e3131905704909c",
        **_COPS,
    ),
    KnownWeights(
        name="cops-mvtec",
        file="epoch_5.pth",
        auxiliary_set="MVTecAD",
        intended_for="VisA",
        source="https://github.com/cqylunlun/CoPS, results/models/mvtec/epoch_5.pth",
        constants={**_BACKBONE, "neighbourhood": 3, "alpha": 0.35, "beta": 1.0},
        sha256="ccb6caf98709e04d3e6faa35031c20114f9937f60d7a1e82834109e2b3bed1bf",
        **_COPS,
    ),
    KnownWeights(
        name="clip-vit-l-14-336",
        method="backbone",
        file="ViT-L-14-336px.pt",
        auxiliary_set=None,
        intended_for="both methods",
        licence="MIT (OpenAI's CLIP repository)",
        source=(
            "open_clip downloads it, and https://openaipublic.azureedge.net/clip/models/"
            "3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02/ViT-L-14-336px.pt"
        ),
        constants=_BACKBONE,
        sha256="3035c92b350959924f9f00213499208652fc7ea050643e8b385c2dac08641f02",
        checksum_from="the address, which OpenAI's CLIP checks files against",
    ),
)


def recognise(path: Path) -> tuple[KnownWeights | None, bool]:
    """Which known weights a file holds.

    Args:
        path: A weights file.

    Returns:
        The weights, or none; and whether the checksum says so. Without a known checksum the file name decides, which
        is a presumption.
    """
    digest = file_sha256(path)
    for known in KNOWN_WEIGHTS:
        if known.sha256 == digest:
            return known, True
    for known in KNOWN_WEIGHTS:
        if known.sha256 is None and known.file == path.name:
            return known, False
    return None, False
