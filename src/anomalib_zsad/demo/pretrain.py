"""Pretrain the demo backbone on drawings: `python -m anomalib_zsad.demo.pretrain --output folder`.

A small CLIP learns from drawn twins, a flawless picture and its damaged copy, and their captions:

- the image feature meets its caption (contrastive, both ways);
- the image feature tells the abnormal from the normal caption of its product;
- so does each patch feature, on the plain and on the value-value path;
- the mean feature of a defect meets the caption of its kind;
- linear heads (discarded at the end) read the defect from the raw tokens of four blocks.

Two thirds of the steps see windows of the picture, the rest whole pictures: windows are cheap. The result is a
demonstration, not a product: it knows drawings.
"""

import argparse
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from torch import Tensor, nn

from anomalib_zsad.demo import captions
from anomalib_zsad.demo.pretraining_pool import Pool, draw_pool
from anomalib_zsad.demo.small_clip import CONFIG, DemoCLIP, VisionTokens

logger = logging.getLogger(__name__)

TEMPERATURE = 0.07
ABNORMAL_WEIGHT = 4.0
# A patch counts as fully abnormal from this share of abnormal pixels on: thin scratches cover little of a patch.
FULL_COVER = 0.15


@dataclass(frozen=True)
class Settings:
    """Settings of a pretraining run.

    Attributes:
        twins: twins in the pool.
        margin: pixels by which drawings exceed the input, room for shifts.
        window_steps: steps on windows.
        full_steps: steps on whole pictures.
        window: patches along a window.
        batch_size: pictures a step.
        learning_rate: highest learning rate.
        weight_decay: of the matrices.
        seed: of drawings, weights and batches.
        config: open_clip's model configuration.
        start: weights of an earlier run to go on from.
    """

    twins: int = 12_000
    margin: int = 16
    window_steps: int = 2400
    full_steps: int = 1600
    window: int = 9
    batch_size: int = 32
    learning_rate: float = 1.5e-3
    weight_decay: float = 0.05
    seed: int = 7
    config: dict[str, Any] | None = None
    start: Path | None = None

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.window_steps + self.full_steps


@dataclass(frozen=True)
class Batch:
    """Pictures (n, 3, s, s) normalised, their share of abnormal pixels by patch (n, N), captions, and grid corner."""

    images: Tensor
    cover: Tensor
    names: list[str]
    kinds: list[str | None]
    tints: list[str]
    corner: tuple[int, int]


def jitter(pixels: Tensor, rng: np.random.Generator) -> Tensor:
    """Vary pictures (n, 3, s, s) in [0, 1]: channel order, gain, gamma, saturation, noise."""
    count = len(pixels)

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return torch.from_numpy(rng.uniform(low, high, (count, channels, 1, 1)).astype(np.float32))

    pixels = pixels[:, torch.from_numpy(rng.permutation(3))]
    grey = pixels.mean(1, keepdim=True)
    saturation = torch.where(draw(0, 1) < 0.15, torch.zeros(()), draw(0.6, 1.2))
    pixels = (grey + (pixels - grey) * saturation) * draw(0.85, 1.15) * draw(0.93, 1.07, 3) + draw(-0.06, 0.06)
    pixels = pixels.clamp(1e-3, 1) ** draw(0.75, 1.33)
    return pixels + torch.randn(pixels.shape) * draw(0, 0.02)


class Sampler:
    """Draws batches from a pool: half damaged pictures, half flawless, half of these the twins of the damaged."""

    def __init__(self, pool: Pool, settings: Settings, patch: int, grid: int) -> None:
        self.pool, self.settings, self.patch, self.grid = pool, settings, patch, grid
        self.rng = np.random.default_rng(settings.seed + 1)
        self.mean = torch.tensor(OPENAI_DATASET_MEAN)[:, None, None]
        self.deviation = torch.tensor(OPENAI_DATASET_STD)[:, None, None]

    def batch(self, window: int) -> Batch:
        """A batch of pictures of `window` patches a side."""
        rng, half, side = self.rng, self.settings.batch_size // 2, window * self.patch
        chosen = rng.choice(len(self.pool), half + half // 2, replace=False)
        damaged, flawless = chosen[:half], np.concatenate([chosen[half:], chosen[: half - half // 2]])
        corners = {int(i): self._corner(int(i), side) for i in chosen}
        pixels = np.stack(
            [self._window(self.pool.abnormal, i, corners, side) for i in damaged]
            + [self._window(self.pool.normal, i, corners, side) for i in flawless]
        )
        masks = np.zeros((2 * half, side, side), dtype=bool)
        masks[:half] = [self._window(self.pool.masks, i, corners, side) for i in damaged]
        images, cover = self._turn(torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255, torch.from_numpy(masks))
        images = jitter(images, rng)
        visible = cover.flatten(1).mean(1) > 0.0008
        kinds = [self.pool.kinds[i] if seen else None for i, seen in zip(damaged, visible[:half].tolist(), strict=True)]
        share = F.avg_pool2d(cover[:, None], self.patch).flatten(1)
        tints = [captions.colour_name(rgb) for rgb in images.mean((2, 3)).numpy()]
        names = [self.pool.names[i] for i in (*damaged, *flawless)]
        row, column = rng.integers(0, self.grid - window + 1, 2)
        normalised = (images - self.mean) / self.deviation
        return Batch(normalised, share, names, kinds + [None] * half, tints, (int(row), int(column)))

    def _corner(self, number: int, side: int) -> tuple[int, int]:
        """Corner of a window that holds a pixel of the twin's defect."""
        rows, columns = np.nonzero(self.pool.masks[number])
        pick, room = self.rng.integers(len(rows)), self.pool.masks.shape[1] - side
        shift = self.rng.integers(0, side, 2)
        return int(np.clip(rows[pick] - shift[0], 0, room)), int(np.clip(columns[pick] - shift[1], 0, room))

    @staticmethod
    def _window(
        pictures: NDArray[np.generic], number: int, corners: dict[int, tuple[int, int]], side: int
    ) -> NDArray[np.generic]:
        top, left = corners[int(number)]
        return pictures[number, top : top + side, left : left + side]

    def _turn(self, images: Tensor, masks: Tensor) -> tuple[Tensor, Tensor]:
        """The same right-angle turn and mirroring for all."""
        turns, mirrored, masks = int(self.rng.integers(4)), self.rng.random() < 0.5, masks.float()
        images, masks = images.rot90(turns, (2, 3)), masks.rot90(turns, (1, 2))
        return (images.flip(3), masks.flip(2)) if mirrored else (images, masks)


class Objective(nn.Module):
    """The losses; holds the linear heads, which are thrown away afterwards."""

    def __init__(self, width: int, layers: int, seed: int) -> None:
        super().__init__()
        self.read = sorted({round(layers * quarter / 4) - 1 for quarter in (1, 2, 3, 4)})
        self.heads = nn.ModuleList(nn.Linear(width, 1) for _ in self.read)
        self.rng = np.random.default_rng(seed + 2)

    def forward(self, model: DemoCLIP, batch: Batch, seen: VisionTokens) -> dict[str, Tensor]:
        """Each loss by name."""
        target = (batch.cover / FULL_COVER).clamp(max=1)
        wholes = torch.tensor([float(kind is not None) for kind in batch.kinds])
        texts = self._texts(batch)
        encoded = model.encode_text([list(captions.tokens(text)) for part in texts for text in part]).float()
        full, normal, abnormal, kinds = encoded.split([len(part) for part in texts])
        direction = (abnormal - normal) / TEMPERATURE
        image = F.normalize(seen.image.float(), dim=-1)
        patches = F.normalize(seen.patches.float(), dim=-1)
        losses = {
            "caption": self._contrast(image, full, texts[0], model.logit_scale.clamp(max=4.6).exp()),
            "state": F.binary_cross_entropy_with_logits((image * direction).sum(-1), wholes),
            "patch": balanced((patches * direction[:, None]).sum(-1), target),
            "kind": self._kind(patches, target, kinds, batch.kinds),
            "layers": torch.stack(
                [
                    balanced(head(seen.raw[i])[..., 0].float(), target)
                    for head, i in zip(self.heads, self.read, strict=True)
                ]
            ).mean(),
        }
        if seen.value_patches is not None:
            value_patches = F.normalize(seen.value_patches.float(), dim=-1)
            losses["value path"] = balanced((value_patches * direction[:, None]).sum(-1), target)
        return losses

    def _texts(self, batch: Batch) -> list[list[str]]:
        pictures = zip(batch.names, batch.kinds, batch.tints, strict=True)
        full = [captions.full_caption(self.rng, *picture) for picture in pictures]
        normal, abnormal = captions.state_prompts(self.rng, batch.names)
        return [full, normal, abnormal, captions.kind_prompts(self.rng, list(captions.KIND_NAMES))]

    @staticmethod
    def _contrast(image: Tensor, text: Tensor, words: list[str], scale: Tensor) -> Tensor:
        """Cross-entropy both ways; equal captions count as equally right."""
        same = torch.tensor([[first == second for second in words] for first in words]).float()
        logits, right = image @ text.T * scale, same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2

    @staticmethod
    def _kind(patches: Tensor, target: Tensor, texts: Tensor, kinds: list[str | None]) -> Tensor:
        """Cross-entropy of the mean feature of each defect over the captions of the kinds."""
        rows = [row for row, kind in enumerate(kinds) if kind is not None]
        if not rows:
            return patches.sum() * 0
        order = list(captions.KIND_NAMES)
        right = torch.tensor([order.index(kinds[row] or "") for row in rows])
        weight = target[rows][..., None]
        mean = F.normalize((patches[rows] * weight).sum(1) / weight.sum(1).clamp(min=1e-3), dim=-1)
        return F.cross_entropy(mean @ texts.T / TEMPERATURE, right)


def balanced(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy of patches (n, N) against soft targets, abnormal patches weighing more."""
    weight = 1 + (ABNORMAL_WEIGHT - 1) * target
    return (F.binary_cross_entropy_with_logits(logits, target, reduction="none") * weight).sum() / weight.sum()


def learning_rate(step: int, settings: Settings) -> float:
    """Linear warm-up over 5 % of the steps, then a cosine to zero."""
    warm_up = max(1, settings.steps // 20)
    if step < warm_up:
        return settings.learning_rate * (step + 1) / warm_up
    return settings.learning_rate * (1 + np.cos(np.pi * (step - warm_up) / max(1, settings.steps - warm_up))) / 2


def make_optimizers(model: DemoCLIP, objective: Objective, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, which learns in half the steps, and AdamW for all else."""
    parameters = [*model.named_parameters(), *objective.named_parameters()]
    matrices = [value for name, value in parameters if "resblocks" in name and value.ndim == 2]
    chosen = {id(value) for value in matrices}
    rest = [value for _, value in parameters if id(value) not in chosen]
    muon = torch.optim.Muon(matrices, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.01)]


WEIGHTS = {"caption": 0.5, "state": 1.0, "patch": 2.0, "kind": 0.25, "layers": 1.0, "value path": 1.0}


def pretrain(
    settings: Settings, pool: Pool, each_50: Callable[[DemoCLIP], None] | None = None
) -> tuple[DemoCLIP, list[dict[str, float]]]:
    """Train on a pool; returns the model and the losses of every step. `each_50` is called every 50 steps."""
    torch.manual_seed(settings.seed)
    config = settings.config or CONFIG
    model = DemoCLIP(config, captions.vocabulary())
    if settings.start is not None:
        model.load(settings.start)
    vision = config["vision_cfg"]
    objective = Objective(vision["width"], vision["layers"], settings.seed)
    sampler = Sampler(pool, settings, vision["patch_size"], model.visual.grid)
    parameters = [*model.parameters(), *objective.parameters()]
    optimizers = make_optimizers(model, objective, settings)
    history: list[dict[str, float]] = []
    start = time.monotonic()
    for step in range(settings.steps):
        window = settings.window if step < settings.window_steps else model.visual.grid
        batch = sampler.batch(window)
        for group in (group for optimizer in optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate(step, settings)
        with torch.autocast("cpu", torch.bfloat16):
            seen = model.visual(batch.images, batch.corner, value_path=step % 2 == 0)
            losses = objective(model, batch, seen)
        total = sum((WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros(()))
        total.backward()
        nn.utils.clip_grad_norm_(parameters, 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        history.append({name: loss.item() for name, loss in losses.items()})
        if step % 50 == 49 or step == settings.steps - 1:
            recent = {name: np.mean([past[name] for past in history[-50:] if name in past]) for name in WEIGHTS}
            report = ", ".join(f"{name} {value:.3f}" for name, value in recent.items())
            logger.info("step %d of %d, %.0f s: %s", step + 1, settings.steps, time.monotonic() - start, report)
            if each_50 is not None:
                each_50(model)
    return model, history


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the configuration and the weights")
    parser.add_argument("--twins", type=int, default=Settings.twins, help="pairs of pictures to draw")
    parser.add_argument("--window-steps", type=int, default=Settings.window_steps, help="steps on windows")
    parser.add_argument("--full-steps", type=int, default=Settings.full_steps, help="steps on whole pictures")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of drawings, weights and batches")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--threads", type=int, default=2, help="threads that train; 1 where others use the cores too")
    parser.add_argument("--start", type=Path, help="weights.safetensors of an earlier run to go on from")
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate, help="highest learning rate")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    settings = Settings(
        twins=options.twins,
        window_steps=options.window_steps,
        full_steps=options.full_steps,
        learning_rate=options.learning_rate,
        seed=options.seed,
        start=options.start,
    )
    size = CONFIG["vision_cfg"]["image_size"] + settings.margin
    start = time.monotonic()
    pool = draw_pool(settings.twins, size, settings.seed, options.workers)
    logger.info("drew %d twins in %.0f s", len(pool), time.monotonic() - start)
    pretrain(settings, pool, lambda model: model.save(options.output))
    logger.info("wrote %s after %.0f s", options.output, time.monotonic() - start)


if __name__ == "__main__":
    main()
