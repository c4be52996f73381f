"""A training step: Bayes-PFL's against R, and both methods' with kept features against computed ones.

python tests/benchmarks/bench_training.py [--batch 4] [--folder FOR_THE_FILE_OF_KEPT_FEATURES]
"""

import argparse
from collections.abc import Callable
from functools import partial

import torch
from measuring import build, images, medians, reference, row

from anomalib_zsad.models.bayes_pfl import training as bayes_pfl
from anomalib_zsad.models.components.feature_cache import KeptFeatures
from anomalib_zsad.models.components.training_batch import TrainingBatch
from anomalib_zsad.models.cops import training as cops


def training_batch(count: int) -> TrainingBatch:
    """Images of noise, every other one with a defect."""
    batch = images(count)
    masks = torch.zeros(count, *batch.shape[-2:])
    masks[::2, :150, :120] = 1
    return TrainingBatch(batch, masks.amax(dim=(1, 2)), masks, ["object"])


def storages(count: int, folder: str | None) -> dict[str, KeptFeatures]:
    """Both places to keep features of so many images in."""
    return {"memory": KeptFeatures("memory", 8), "disk": KeptFeatures("disk", 8, folder, expected=count)}


def bayes_pfl_step(count: int, repeats: int, folder: str | None) -> None:
    """A step of stage 1, forward, backward and optimiser, an image, against R; and with kept tokens."""
    model, encode, batch = build("BayesPFL").train(), reference("float32"), training_batch(count)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    paths = [f"{index}.png" for index in range(count)]

    def step(kept: KeptFeatures | None = None) -> None:
        tokens = None
        if kept is not None:
            encode_once = partial(bayes_pfl.kept_tokens, model)
            tokens = kept.features(paths, batch.images, encode_once).tokens()
        draw = bayes_pfl.draw_training_noise(model, count)
        loss = sum(bayes_pfl.prompt_losses(model, batch, draw, tokens).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    @torch.no_grad()
    def one_reference() -> None:
        encode(batch.images[:1])

    variants: dict[str, Callable[[], object]] = {"R": one_reference, "step": step}
    variants |= {name: lambda kept=kept: step(kept) for name, kept in storages(count, folder).items()}
    found = medians(variants, repeats)
    row(f"BayesPFL, float32, training step of {count}, an image", found["step"] / count / found["R"], "R", "1.50")
    for name in ("memory", "disk"):
        what = f"BayesPFL, float32, training step of {count}, tokens kept ({name})"
        row(what, found["step"] / found[name], "times faster (more is better)", "", seconds=found[name])


def cops_step(count: int, repeats: int, folder: str | None) -> None:
    """A step with features computed, and with kept ones as from the second epoch on."""
    model, batch = build("CoPS").train(), training_batch(count)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    paths = [f"{index}.png" for index in range(count)]

    def step(kept: KeptFeatures | None) -> None:
        features = None if kept is None else kept.features(paths, batch.images, model.encode)
        noise = cops.draw_training_noise(model, count)
        loss = sum(cops.prompt_losses(model, batch, noise, features).values())
        optimizer.zero_grad()
        loss.backward()  # type: ignore[union-attr]
        optimizer.step()

    variants: dict[str, Callable[[], object]] = {"computed": lambda: step(None)}
    variants |= {name: lambda kept=kept: step(kept) for name, kept in storages(count, folder).items()}
    found = medians(variants, repeats)
    for name in ("memory", "disk"):
        what = f"CoPS, float32, training step of {count}, features kept ({name})"
        row(what, found["computed"] / found[name], "times faster (more is better)", "8", "15", seconds=found[name])


def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", help="folder for the file of kept features")
    arguments = parser.parse_args()
    bayes_pfl_step(arguments.batch, arguments.repeats, arguments.folder)
    cops_step(arguments.batch, arguments.repeats, arguments.folder)


if __name__ == "__main__":
    main()
