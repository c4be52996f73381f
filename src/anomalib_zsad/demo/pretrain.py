"""Pretrain the demo backbone: `python -m anomalib_zsad.demo.pretrain --output folder --textures sample_data/textures`.

A small CLIP learns from twins, a flawless picture and its damaged copy, and their captions. The pictures are drawn
products, photographs of real materials and drawn sections of bodies, the damage is always drawn:

- the image feature meets its caption (contrastive, both ways);
- the image feature tells the abnormal from the normal caption of its product;
- so does each patch feature, on the plain and on the value-value path;
- the mean feature of a defect meets the caption of its kind;
- linear heads (discarded at the end) read the defect from the raw tokens of four blocks.

Two thirds of the steps see windows of the picture, the rest whole pictures: windows are cheap. The result is a
demonstration, not a product. A run that was ended goes on from its last hundredth step.
"""

import argparse
import json
import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from anomalib_zsad.demo import captions
from anomalib_zsad.demo.pretraining_batches import Batch, Sampler
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
        keep_start: share of these weights in what is written in the end, in [0, 1): an average in weight space keeps
            what was learned before beside what is new (Wortsman et al., Robust fine-tuning of zero-shot models,
            CVPR 2022).

    Raises:
        ValueError: If the share is out of range, or given without weights to keep.
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
    keep_start: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.keep_start < 1:
            raise ValueError(f"the share of the first weights is in [0, 1), not {self.keep_start}")
        if self.keep_start and self.start is None:
            raise ValueError("--keep-start needs the weights to keep, --start")

    @property
    def steps(self) -> int:
        """Number of steps."""
        return self.window_steps + self.full_steps


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
    return settings.learning_rate * (1 + math.cos(math.pi * (step - warm_up) / max(1, settings.steps - warm_up))) / 2


def make_optimizers(model: DemoCLIP, objective: Objective, settings: Settings) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, which learns in half the steps, and AdamW for all else."""
    parameters = [*model.named_parameters(), *objective.named_parameters()]
    matrices = [value for name, value in parameters if "resblocks" in name and value.ndim == 2]
    chosen = {id(value) for value in matrices}
    rest = [value for _, value in parameters if id(value) not in chosen]
    muon = torch.optim.Muon(matrices, weight_decay=settings.weight_decay, adjust_lr_fn="match_rms_adamw")
    return [muon, torch.optim.AdamW(rest, betas=(0.9, 0.98), weight_decay=0.01)]


WEIGHTS = {"caption": 0.5, "state": 1.0, "patch": 2.0, "kind": 0.25, "layers": 1.0, "value path": 1.0}


class Run:
    """A pretraining run: the model, its optimizers, where the draws stand, and what was learned so far.

    Args:
        settings: What to train and for how long.
        pool: The twins.
    """

    def __init__(self, settings: Settings, pool: Pool) -> None:
        torch.manual_seed(settings.seed)
        config = settings.config or CONFIG
        self.settings = settings
        self.model = DemoCLIP(config, captions.vocabulary())
        if settings.start is not None:
            self.model.load(settings.start)
        vision = config["vision_cfg"]
        self.objective = Objective(vision["width"], vision["layers"], settings.seed)
        grid = self.model.visual.grid
        self.sampler = Sampler(pool, settings.batch_size, settings.seed + 1, vision["patch_size"], grid)
        self.parameters = [*self.model.parameters(), *self.objective.parameters()]
        self.optimizers = make_optimizers(self.model, self.objective, settings)
        self.history: list[dict[str, float]] = []

    def step(self) -> None:
        """One step, on windows or on whole pictures as its number says."""
        number = len(self.history)
        whole = number >= self.settings.window_steps
        batch = self.sampler.batch(self.model.visual.grid if whole else self.settings.window)
        for group in (group for optimizer in self.optimizers for group in optimizer.param_groups):
            group["lr"] = learning_rate(number, self.settings)
        with torch.autocast("cpu", torch.bfloat16):
            seen = self.model.visual(batch.images, batch.corner, value_path=number % 2 == 0)
            losses = self.objective(self.model, batch, seen)
        total = sum((WEIGHTS[name] * loss for name, loss in losses.items()), torch.zeros(()))
        total.backward()
        nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for optimizer in self.optimizers:
            optimizer.step()
            optimizer.zero_grad()
        self.history.append({name: loss.item() for name, loss in losses.items()})

    def blend_start(self) -> None:
        """Make the weights the average that the settings ask for; training cannot go on from it."""
        share, start = self.settings.keep_start, self.settings.start
        if not share or start is None:
            return
        learned = {name: value.clone() for name, value in self.model.state_dict().items()}
        self.model.load(start)
        for name, first in self.model.state_dict().items():
            if first.is_floating_point():
                first.copy_(learned[name] + share * (first - learned[name]))

    def save(self, path: Path) -> None:
        """Write everything that a later process needs to go on, whole or not at all."""
        draft = path.with_suffix(".draft")
        path.parent.mkdir(parents=True, exist_ok=True)
        state = {
            "settings": repr(self.settings),
            "model": self.model.state_dict(),
            "objective": self.objective.state_dict(),
            "optimizers": [optimizer.state_dict() for optimizer in self.optimizers],
            "draws": json.dumps([rng.bit_generator.state for rng in (self.sampler.rng, self.objective.rng)]),
            "torch": torch.get_rng_state(),
            "history": self.history,
        }
        torch.save(state, draft)
        draft.replace(path)

    def load(self, path: Path) -> None:
        """Go on where a saved run stood.

        Raises:
            ValueError: If it was made with other settings; says both.
        """
        state = torch.load(path, weights_only=True)
        if state["settings"] != repr(self.settings):
            raise ValueError(
                f"'{path}' belongs to a run with {state['settings']}, and this one has {self.settings!r}; give it "
                "another --output"
            )
        self.model.load_state_dict(state["model"])
        self.objective.load_state_dict(state["objective"])
        for optimizer, saved in zip(self.optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        draws = json.loads(state["draws"])
        self.sampler.rng.bit_generator.state, self.objective.rng.bit_generator.state = draws
        torch.set_rng_state(state["torch"])
        self.history = state["history"]


def pretrain(
    settings: Settings, pool: Pool, each_50: Callable[[Run], None] | None = None, state: Path | None = None
) -> Run:
    """Train on a pool.

    Args:
        settings: What to train and for how long.
        pool: The twins.
        each_50: Called every 50 steps and at the end.
        state: File that keeps the run every 100 steps; if it is there, the run goes on from it.

    Raises:
        ValueError: If the state belongs to a run with other settings.
    """
    run = Run(settings, pool)
    if state is not None and state.is_file():
        run.load(state)
        logger.info("going on from step %d", len(run.history))
    start = time.monotonic()
    while len(run.history) < settings.steps:
        run.step()
        done = len(run.history)
        if done % 50 == 0 or done == settings.steps:
            recent = {name: np.mean([past[name] for past in run.history[-50:] if name in past]) for name in WEIGHTS}
            report = ", ".join(f"{name} {value:.3f}" for name, value in recent.items())
            logger.info("step %d of %d, %.0f s: %s", done, settings.steps, time.monotonic() - start, report)
            if each_50 is not None:
                each_50(run)
        if state is not None and (done % 100 == 0 or done == settings.steps):
            run.save(state)
    return run


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--output", type=Path, required=True, help="folder for the configuration and the weights")
    parser.add_argument("--textures", type=Path, required=True, help="contact sheets, as sample_data/textures")
    parser.add_argument("--twins", type=int, default=Settings.twins, help="pairs of pictures to draw")
    parser.add_argument("--window-steps", type=int, default=Settings.window_steps, help="steps on windows")
    parser.add_argument("--full-steps", type=int, default=Settings.full_steps, help="steps on whole pictures")
    parser.add_argument("--seed", type=int, default=Settings.seed, help="seed of drawings, weights and batches")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw")
    parser.add_argument("--threads", type=int, default=2, help="threads that train; 1 where others use the cores too")
    parser.add_argument("--start", type=Path, help="weights.safetensors of an earlier run to begin with")
    parser.add_argument("--keep-start", type=float, default=0.0, help="share of --start's weights in what is written")
    parser.add_argument("--learning-rate", type=float, default=Settings.learning_rate, help="highest learning rate")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    torch.set_num_threads(options.threads)
    try:
        settings = Settings(
            twins=options.twins,
            window_steps=options.window_steps,
            full_steps=options.full_steps,
            learning_rate=options.learning_rate,
            seed=options.seed,
            start=options.start,
            keep_start=options.keep_start,
        )
    except ValueError as error:
        parser.error(str(error))
    size = CONFIG["vision_cfg"]["image_size"] + settings.margin
    start = time.monotonic()
    pool = draw_pool(settings.twins, size, settings.seed, options.textures, options.workers)
    logger.info("drew %d twins in %.0f s", len(pool), time.monotonic() - start)
    run = pretrain(settings, pool, lambda run: run.model.save(options.output), options.output / "state.pt")
    run.blend_start()
    run.model.save(options.output)
    logger.info("wrote %s after %.0f s", options.output, time.monotonic() - start)


if __name__ == "__main__":
    main()
