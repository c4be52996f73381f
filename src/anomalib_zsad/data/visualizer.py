"""anomalib's visualizer, for images of several categories in one run."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from anomalib.utils.path import generate_output_filename
from anomalib.visualization import ImageVisualizer

if TYPE_CHECKING:
    from lightning.pytorch import Trainer

__all__ = ["CategoryVisualizer"]


class CategoryVisualizer(ImageVisualizer):
    """Write overviews of answers so that no image's overview overwrites another's.

    anomalib keeps the folders below the datamodule's name in the paths it writes; without a datamodule (a model's own
    sample data, or `predict --data folder` on nested folders) it keeps the last folder only, and
    `gear/good/000.png` and `lens/good/000.png` both become `images/good/000.png`. Here such images go to a folder
    of their class name, and any path that is still taken gets more of the image's own folders.

    Takes the arguments of `anomalib.visualization.ImageVisualizer`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._written: dict[Path, str] = {}

    def on_test_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Forget what an earlier run wrote."""
        del trainer, pl_module
        self._written.clear()

    def on_predict_start(self, trainer: "Trainer", pl_module: Any) -> None:
        """Forget what an earlier run wrote."""
        self.on_test_start(trainer, pl_module)

    def on_test_batch_end(
        self,
        trainer: "Trainer",
        pl_module: Any,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Write the overviews of a batch, each below a folder that keeps its path its own."""
        chosen = self.output_dir or Path(trainer.default_root_dir) / "images"
        try:
            for item in batch:
                self.output_dir = self._folder_for(item, Path(chosen), trainer)
                single: Any = [item]  # anomalib only iterates over it
                super().on_test_batch_end(trainer, pl_module, outputs, single, batch_idx, dataloader_idx)
        finally:
            self.output_dir = chosen

    def _folder_for(self, item: Any, base: Path, trainer: "Trainer") -> Path:
        """The folder below which an item's path is not taken by another image."""
        datamodule = getattr(trainer, "datamodule", None)
        name, category = getattr(datamodule, "name", None), getattr(datamodule, "category", None)
        class_name = getattr(item, "class_name", None)
        if datamodule is None and class_name and Path(class_name).name == class_name:
            base = base / class_name
        image = Path(item.image_path or "")
        parents = [folder.name for folder in image.parents if folder.name][1:]  # anomalib keeps the first itself
        for depth in range(len(parents) + 1):
            folder = base.joinpath(*reversed(parents[:depth]))
            target = generate_output_filename(image, folder, name, category, mkdir=False)
            if self._written.setdefault(target, str(image)) == str(image):
                return folder
        return base
