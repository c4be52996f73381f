"""Constants that the published implementation keys on a data set's name, and here belong to a checkpoint."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constants:
    """Constants of the method.

    Published settings: trained on MVTec AD and tested on VisA, both neighbourhoods are 3, `alpha` 0.35, `beta` 1.0,
    with `reconstruction`; trained on VisA and tested on anything else, the defaults.

    Attributes:
        neighbourhood: Patches along one side of the square that is averaged around each patch, at test time; odd.
        alpha: Share of the distance from the normal prototypes in the weight of a patch, in [0, 1].
        beta: Share of the image feature in the image score, in [0, 1]; the rest is the highest patch.
        training_neighbourhood: `neighbourhood` while training.
        reconstruction: Whether the reconstruction of image features counts in training.

    Raises:
        ValueError: A value is out of its range.
    """

    neighbourhood: int = 5
    alpha: float = 0.26
    beta: float = 0.9
    training_neighbourhood: int = 5
    reconstruction: bool = False

    def __post_init__(self) -> None:
        for name in ("neighbourhood", "training_neighbourhood"):
            value = getattr(self, name)
            if value < 1 or value % 2 == 0:
                raise ValueError(f"{name} is {value}; give an odd number of patches, at least 1")
        for name in ("alpha", "beta"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} is {value}; give a share from 0 to 1")
