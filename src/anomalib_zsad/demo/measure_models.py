"""`python -m anomalib_zsad.demo.measure_models`: the methods beside anomalib's own models, on drawn and real pictures.

Bayes-PFL and CoPS are trained as in `make demo` and have never seen what they are tested on. Patchcore and Padim are
trained on normal pictures of just that, which the test leaves out. WinClip needs no training. Nothing is downloaded
unless asked for: the zero-shot methods stand on the embedded backbone, Patchcore and Padim on a ResNet-18 and WinClip
on a small CLIP of random weights. `anomalib-zsad evaluate --models` does the rest.
"""

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from anomalib_zsad.cli import main as command
from anomalib_zsad.cli import quieten
from anomalib_zsad.data.sample_set import UNSEEN_CATEGORIES, sample_data_folder
from anomalib_zsad.demo.real_pictures import write_trees
from anomalib_zsad.demo.train import METHODS, train

SIDE = 256
TILES = "magnetic_tile"
_SEED = 0
_SMALL_CLIP = "small-random-clip"


def sample_tree(folder: Path) -> Path:
    """The drawn categories that were never seen, each with its normal pictures to train on: `train/good`, `test`."""
    for category in UNSEEN_CATEGORIES:
        shutil.copytree(sample_data_folder() / "industrial" / category, folder / category)
    return folder


def tiles_tree(real: Path, folder: Path) -> Path:
    """Magnetic tiles; every other normal one is trained on and not tested."""
    write_trees(real, folder.parent / "all")
    shutil.move(str(folder.parent / "all" / TILES), folder)
    normal = sorted((folder / "test" / "good").iterdir())
    (folder / "train" / "good").mkdir(parents=True)
    for path in normal[::2]:
        shutil.move(str(path), folder / "train" / "good" / path.name)
    return folder


def one_class_model(name: str, weights: bool) -> Any:
    """Patchcore or Padim over a ResNet-18.

    Args:
        name: `Patchcore` or `Padim`.
        weights: Take the published weights of the ResNet, which are downloaded; else random ones of seed 0.
    """
    import anomalib.models
    from anomalib.pre_processing import PreProcessor
    from lightning.pytorch import seed_everything
    from torchvision.transforms.v2 import Resize

    seed_everything(_SEED, verbose=False)
    more: dict[str, float] = {"coreset_sampling_ratio": 0.01} if name == "Patchcore" else {"n_features": 100}
    return getattr(anomalib.models, name)(
        backbone="resnet18",
        layers=["layer1", "layer2", "layer3"],
        pre_trained=weights,
        pre_processor=PreProcessor(Resize((SIDE, SIDE))),
        evaluator=False,
        visualizer=False,
        **more,
    )


def train_one_class(name: str, normal: Sequence[Path], folder: Path, *, weights: bool) -> Path:
    """Train on normal pictures; the checkpoint.

    Args:
        name: Of `one_class_model`.
        normal: Folders of normal pictures.
        folder: Where the run writes.
        weights: Of `one_class_model`.
    """
    from anomalib.data import Folder
    from anomalib.engine import Engine

    data = Folder(
        name="normal",
        normal_dir=[str(path) for path in normal],
        test_split_mode="synthetic",  # Folder wants something to validate on, which decides nothing here
        val_split_mode="same_as_test",
        train_batch_size=16,
        num_workers=0,
        seed=_SEED,
    )
    engine = Engine(default_root_dir=folder, accelerator="cpu", devices=1, logger=False, enable_progress_bar=False)
    engine.fit(one_class_model(name, weights), datamodule=data)
    checkpoint = folder / f"{name}.ckpt"
    engine.trainer.save_checkpoint(checkpoint)
    return checkpoint


def _random_winclip(folder: Path) -> None:
    """WinClip over a small CLIP of random weights: nothing is downloaded, and its scores mean nothing."""
    import open_clip
    from anomalib.models.image.winclip import torch_model

    tower = {"width": 64, "layers": 2}
    vision, text = {"image_size": 240, "patch_size": 16, "head_width": 32}, {"heads": 2}
    config = {"embed_dim": 32, "vision_cfg": {**tower, **vision}, "text_cfg": {**tower, **text}}
    folder.mkdir(parents=True)
    (folder / f"{_SMALL_CLIP}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / f"{_SMALL_CLIP}.json")
    torch_model.BACKBONE, torch_model.PRETRAINED = _SMALL_CLIP, None  # type: ignore[assignment]


def measure(name: str, tree: Path, zero_shot: dict[str, Path], options: argparse.Namespace) -> int:
    """Compare all models on one set; the exit code of `evaluate`."""
    normal = sorted(tree.glob("**/train/good"))
    trained = {
        one: train_one_class(one, normal, options.output / "trained" / name / one, weights=options.weights)
        for one in ("Patchcore", "Padim")
    }
    for path in normal:  # they are no part of what is tested
        shutil.rmtree(path.parent)
    models = [f"{label}={path}" for label, path in {**zero_shot, **trained}.items()]
    words = ["evaluate", "-i", f"{name}={tree}", "-o", str(options.output / name), "--no-progress"]
    if name == TILES:
        words += ["--class-name", "magnetic tile"]
    return command([*words, "--models", *models, "WinClip"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Train, compare on each set, and leave the tables in the output folder."""
    parser = argparse.ArgumentParser(prog="python -m anomalib_zsad.demo.measure_models", description=__doc__)
    parser.add_argument("--real", type=Path, help="folder with magnetic_tile, where there is one")
    parser.add_argument(
        "--weights", action="store_true", help="published weights of ResNet-18 and WinClip's CLIP, which are downloaded"
    )
    parser.add_argument("--output", type=Path, required=True, help="new folder for models, results and tables")
    options = parser.parse_args(arguments)
    if options.output.exists():
        parser.error(f"'{options.output}' exists; give another --output")
    quieten()
    trees = {"drawn": sample_tree(options.output / "sets" / "drawn")}
    if options.real:
        trees[TILES] = tiles_tree(options.real, options.output / "sets" / TILES)
    if not options.weights:
        _random_winclip(options.output / "trained" / "clip")
    zero_shot = {method: train(method, options.output / "trained" / method) for method in METHODS}
    return max(measure(name, tree, zero_shot, options) for name, tree in trees.items())


if __name__ == "__main__":
    sys.exit(main())
