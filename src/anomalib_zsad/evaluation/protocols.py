"""How scores are made of what a model sees: the two named protocols.

`deployable`: the score of an image depends on that image alone, as in use. `paper`: the published evaluation, which
looks at the whole test set (docs/protocol.md says where the two differ).
"""

import copy
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from anomalib.data import AnomalibDataset
from anomalib.data.transforms.utils import extract_transforms_by_type
from torch import Tensor
from torchvision.transforms.v2 import Compose, InterpolationMode, Resize, Transform
from torchvision.transforms.v2.functional import resize
from torchvision.tv_tensors import Mask

from anomalib_zsad.data.pillow_resize import PillowResize
from anomalib_zsad.data.set_names import canonical_name
from anomalib_zsad.models.components.prediction import top_mean
from anomalib_zsad.models.components.smoothing import GaussianSmoothing

DEPLOYABLE, PAPER = "deployable", "paper"
PROTOCOLS = (DEPLOYABLE, PAPER)


class Answer(NamedTuple):
    """What a protocol keeps of a batch of n images.

    Attributes:
        maps: Maps (n, h, w) for the pixel metrics; `None` of a model without maps.
        parts: Named numbers of each image, (n,) each, of which the scores are made once the category is complete.
    """

    maps: Tensor | None
    parts: dict[str, Tensor]


class Protocol(ABC):
    """A way from a model's torch module to maps and image scores."""

    name: str

    @abstractmethod
    def answer(self, model: Any, images: Tensor, class_names: Sequence[str]) -> Answer:
        """Maps and the parts of the scores of a batch.

        Args:
            model: Torch model of a method, in evaluation mode.
            images: Normalised images (n, 3, side, side).
            class_names: Name of each image's class.
        """

    @abstractmethod
    def scores(self, parts: Mapping[str, Tensor], has_masks: bool) -> Tensor:
        """Image scores of a whole category.

        Args:
            parts: Parts of all images of the category, (n,) each.
            has_masks: Whether the category has masks.

        Returns:
            Scores (n,).
        """

    def prepare(self, dataset: AnomalibDataset, transform: Callable[[Tensor], Tensor]) -> AnomalibDataset:
        """The test images, perhaps resized in a way of the protocol's own; here as they are.

        Args:
            dataset: The test images.
            transform: The model's transform of an image.
        """
        del transform
        return dataset

    def resize_mask(self, mask: Tensor, shape: tuple[int, int]) -> Tensor:
        """Bring a boolean mask (h, w) to the maps' height and width."""
        return resize(mask[None].byte(), list(shape), InterpolationMode.NEAREST)[0].bool()

    def describe(self) -> dict[str, Any]:
        """What decides the numbers, for the record."""
        return {"protocol": self.name}


class Deployable(Protocol):
    """Score and map as the model gives them to a user."""

    name = DEPLOYABLE

    def answer(self, model: Any, images: Tensor, class_names: Sequence[str]) -> Answer:
        """Take the model's own score and map."""
        prediction = model(images, class_names=list(class_names))
        maps = prediction.anomaly_map
        return Answer(None if maps is None else maps.squeeze(1), {"score": prediction.pred_score})

    def scores(self, parts: Mapping[str, Tensor], has_masks: bool) -> Tensor:
        """The model's own scores; masks make no difference."""
        del has_masks
        return parts["score"]


class Published(Protocol):
    """What the published evaluations of both methods have in common."""

    name = PAPER

    def prepare(self, dataset: AnomalibDataset, transform: Callable[[Tensor], Tensor]) -> AnomalibDataset:
        """Images and masks resized by Pillow, image files in their own mode, as both published implementations do.

        The size is that of the transform's own resize; images stay as they are where it has none.
        """
        sizes = extract_transforms_by_type(transform, Resize) if isinstance(transform, Transform) else []
        if not sizes:
            return dataset
        prepared = copy.copy(dataset)
        pillow = PillowResize(tuple(sizes[0].size))
        given = dataset.augmentations
        prepared.augmentations = pillow if given is None else Compose([given, pillow])
        return prepared

    def resize_mask(self, mask: Tensor, shape: tuple[int, int]) -> Tensor:
        """Resize masks bilinearly with Pillow and cut at one half, as both published implementations do."""
        return PillowResize(shape)(Mask(mask)).bool()


@dataclass(frozen=True)
class BayesPFLConstants:
    """Constants of the published evaluation of Bayes-PFL.

    Attributes:
        sigma: Standard deviation in pixels of the Gaussian that smooths maps for the pixel metrics.
        map_weight: Weight of the map's part of the image score.
        top_k: Pixels whose mean is the map's part.
        small_top_k: The same for the categories with small anomalies.
        small_categories: Those categories, by their names in the data sets.
    """

    sigma: float = 8.0
    map_weight: float = 0.5
    top_k: int = 2000
    small_top_k: int = 20
    small_categories: frozenset[str] = frozenset(
        {"capsules", "macaroni1", "macaroni2", "pipe_fryum", "screw", "cashew", "chewinggum"}
    )


class BayesPFLPublished(Published):
    """Published evaluation of Bayes-PFL.

    Image score: half the image probability, half the mean of the top pixels of the unsmoothed map, each min-max scaled
    within its category; where a set has no masks, the image probability alone. Maps smoothed.

    Args:
        constants: The published constants.
    """

    def __init__(self, constants: BayesPFLConstants | None = None) -> None:
        self.constants = constants or BayesPFLConstants()
        self._smoothing: GaussianSmoothing | None = None

    def answer(self, model: Any, images: Tensor, class_names: Sequence[str]) -> Answer:
        """Smooth the maps, and keep the image probability and the mean of the top pixels apart."""
        evidence = model.evidence(images, list(class_names))
        maps = evidence.unsmoothed_map.squeeze(1)
        top = torch.stack([top_mean(one, self.top_k(name)) for one, name in zip(maps, class_names, strict=True)])
        return Answer(self._smooth(maps), {"image_probability": evidence.image_probability, "top_mean": top})

    def scores(self, parts: Mapping[str, Tensor], has_masks: bool) -> Tensor:
        """Scale both parts within the category and average them."""
        probability = scale_to_unit(parts["image_probability"])
        if not has_masks:
            return probability
        weight = self.constants.map_weight
        return (1 - weight) * probability + weight * scale_to_unit(parts["top_mean"])

    def top_k(self, class_name: str) -> int:
        """Pixels of the top mean for one category."""
        small = class_name in self.constants.small_categories
        return self.constants.small_top_k if small else self.constants.top_k

    def describe(self) -> dict[str, Any]:
        """The published constants."""
        constants = self.constants
        return {
            "protocol": self.name,
            "min_max_within_category": True,
            "sigma": constants.sigma,
            "map_weight": constants.map_weight,
            "top_k": constants.top_k,
            "small_top_k": constants.small_top_k,
            "small_categories": sorted(constants.small_categories),
        }

    def _smooth(self, maps: Tensor) -> Tensor:
        if self._smoothing is None:
            self._smoothing = GaussianSmoothing(maps.shape[-1], self.constants.sigma).to(maps.device)
        return self._smoothing(maps)


def scale_to_unit(values: Tensor) -> Tensor:
    """Scale (n,) to [0, 1] by its own minimum and maximum.

    Quirk kept for parity: 1e-8 is added to the range, as the published code does; equal values become zeros.
    """
    values = values.double()
    return (values - values.min()) / (values.max() - values.min() + 1e-8)


@dataclass(frozen=True)
class CoPSConstants:
    """Constants that the published evaluation of CoPS chooses by the name of the set tested on.

    Attributes:
        neighbourhood: Side of the local average over patches (k).
        alpha: Share of the distance from the normal prototypes in the weight of a patch.
        beta: Share of the image feature in the image score.
        sigma: Standard deviation in pixels of the Gaussian that smooths maps.
    """

    neighbourhood: int = 5
    alpha: float = 0.26
    beta: float = 0.9
    sigma: float = 4.0


COPS_CONSTANTS = {"VisA": CoPSConstants(neighbourhood=3, alpha=0.35, beta=1.0)}
"""Constants by the name of the set tested on; every other set has the defaults."""


class CoPSPublished(Published):
    """Published evaluation of CoPS: constants chosen by the set tested on, maps smoothed.

    Nothing is scaled within a category: the published code ranks the scores as they are.

    Args:
        target: Name of the set tested on.
    """

    def __init__(self, target: str) -> None:
        self.constants = COPS_CONSTANTS.get(canonical_name(target), CoPSConstants())
        self._smoothing: GaussianSmoothing | None = None

    def answer(self, model: Any, images: Tensor, class_names: Sequence[str]) -> Answer:
        """Evidence under the published constants, weighed as published."""
        own = model.constants
        model.constants = replace(own, neighbourhood=self.constants.neighbourhood, alpha=self.constants.alpha)
        try:
            evidence = model.evidence(images, list(class_names))
        finally:
            model.constants = own
        maps, beta = evidence.unsmoothed_map.squeeze(1), self.constants.beta
        score = beta * evidence.image_probability + (1 - beta) * maps.amax(dim=(-2, -1))
        if self._smoothing is None:
            self._smoothing = GaussianSmoothing(maps.shape[-1], self.constants.sigma).to(maps.device)
        return Answer(self._smoothing(maps), {"score": score})

    def scores(self, parts: Mapping[str, Tensor], has_masks: bool) -> Tensor:
        """The scores as they are."""
        del has_masks
        return parts["score"]

    def describe(self) -> dict[str, Any]:
        """The constants of this set."""
        return {"protocol": self.name, **asdict(self.constants)}


def make_protocol(name: str, method: str, target: str) -> Protocol:
    """A protocol by name, for a method and a set to be tested on.

    Raises:
        ValueError: There is no such protocol, or nothing was published for the method.
    """
    if name == DEPLOYABLE:
        return Deployable()
    if name != PAPER:
        raise ValueError(f"there is no protocol {name!r}; give {' or '.join(PROTOCOLS)}")
    if method == "BayesPFL":
        return BayesPFLPublished()
    if method == "CoPS":
        return CoPSPublished(target)
    raise ValueError(f"the protocol {PAPER!r} is defined for BayesPFL and CoPS, not for {method}; use {DEPLOYABLE!r}")
