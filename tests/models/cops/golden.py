"""The golden answers of CoPS and the model that must give them."""

import json
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.cops.published import from_published
from anomalib_zsad.models.cops.torch_model import CoPSModel
from tests.golden import seeded_weights
from tests.models.small import write_backbone

FILE = Path(__file__).parents[2] / "golden" / "cops.safetensors"

# The two published settings: on which data set the model is tested, or trained.
TEST_CONSTANTS = {
    "mvtec": {"neighbourhood": 5, "alpha": 0.26, "beta": 0.9},
    "visa": {"neighbourhood": 3, "alpha": 0.35, "beta": 1.0},
}
TRAINING_CONSTANTS = {
    "mvtec": {"training_neighbourhood": 3, "reconstruction": True},
    "visa": {"training_neighbourhood": 5, "reconstruction": False},
}


class Golden:
    """Figures and settings of the golden file."""

    def __init__(self) -> None:
        with safe_open(FILE, "pt") as file:
            metadata = file.metadata()
            self.tensors: dict[str, Tensor] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        self.seed, self.side = int(metadata["seed"]), int(metadata["side"])
        self.clip = json.loads(metadata["clip"])
        self.shapes = json.loads(metadata["state_shapes"])

    def __getitem__(self, name: str) -> Tensor:
        return self.tensors[name]

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def published_state(self) -> dict[str, Tensor]:
        """The state dict of the published module with the seeded weights."""
        return seeded_weights.fill({name: torch.zeros(shape) for name, shape in self.shapes.items()}, self.seed)

    def images(self, seed_offset: int = 0, batch: int = 1) -> Tensor:
        return seeded_weights.image(self.seed + seed_offset, batch, self.side)

    def backbone(self, folder: Path) -> FrozenCLIP:
        arguments = write_backbone(folder, self.seed, self.clip)
        return FrozenCLIP(**arguments, image_size=self.side, activation="quick_gelu", position_resize="bilinear")

    def model(self, backbone: FrozenCLIP, constants: dict[str, float | bool], blur_sigma: float = 4.0) -> CoPSModel:
        model = CoPSModel(backbone, blur_sigma=blur_sigma, constants=constants)
        state = from_published(self.published_state(), dict(model.named_parameters()))
        model.load_state_dict({**state, "_extra_state": model.get_extra_state()})
        return model.eval()
