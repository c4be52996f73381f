"""What CoPS saves: frozen features kept between epochs, and prompt prefixes read once.

    python tests/benchmarks/bench_cops.py [--backbone ViT-L-14-336] [--batch 4] [--repeats 3] [--device cpu]

The backbone has random weights: only ratios within one run mean anything. Variants alternate, and medians are printed.
"""

import argparse
import statistics
import time
from collections.abc import Callable

import torch

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.components.feature_cache import KeptFeatures
from anomalib_zsad.models.components.training_batch import TrainingBatch
from anomalib_zsad.models.cops.torch_model import CoPSModel
from anomalib_zsad.models.cops.training import draw_training_noise, prompt_losses


def medians(variants: dict[str, Callable[[], object]], repeats: int, device: str) -> dict[str, float]:
    """Median seconds of each variant over alternating runs, after one that does not count."""
    times: dict[str, list[float]] = {name: [] for name in variants}
    for repeat in range(repeats + 1):
        for name, variant in variants.items():
            start = time.perf_counter()
            variant()
            if device != "cpu":
                torch.cuda.synchronize()
            if repeat:
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(values) for name, values in times.items()}


def training_steps(model: CoPSModel, batch: TrainingBatch, folder: str | None) -> dict[str, Callable[[], object]]:
    """One training step, with features computed and with kept ones."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, betas=(0.5, 0.999))
    paths = [f"{index}.png" for index in range(len(batch.images))]
    storages = {"memory": KeptFeatures("memory", 8), "disk": KeptFeatures("disk", 8, folder, expected=len(paths))}

    def step(kept: KeptFeatures | None) -> None:
        features = None if kept is None else kept.features(paths, batch.images, model.encode)
        noise = draw_training_noise(model, len(batch.images))
        loss = sum(prompt_losses(model, batch, noise, features).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    variants: dict[str, Callable[[], object]] = {"step, features computed": lambda: step(None)}
    for name, kept in storages.items():
        variants[f"step, features kept ({name})"] = lambda kept=kept: step(kept)
    return variants


def text_encodings(model: CoPSModel, count: int) -> dict[str, Callable[[], object]]:
    """Prompts of a batch, with prefixes shared, with the constant one read anew, and with nothing shared."""
    width, device = model.backbone.config.embed_dim, model.noise.device
    prototypes = torch.randn(count, 2, 6, width, device=device) * 0.05
    decoded = model.vae.sample(model.noise)[None].detach()
    text, prompts = model.backbone.text, model.prompts

    @torch.no_grad()
    def shared() -> torch.Tensor:
        return model.encode_text(prototypes, decoded)

    @torch.no_grad()
    def constant_anew() -> torch.Tensor:
        model.constant_prefix.forget()
        return model.encode_text(prototypes, decoded)

    @torch.no_grad()
    def nothing_shared() -> torch.Tensor:
        classes = prompts.classes(decoded).expand(count, -1, -1, -1, -1)
        leading = classes.shape[:3]
        start = model.backbone.embed_start()
        context = torch.cat((start.expand(2, 1, -1), prompts.context()), dim=1)[None, :, None].expand(*leading, -1, -1)
        states = prompts.states(prototypes)[:, :, None].expand(*leading, -1, -1)
        end = model.backbone.embed_names(["."])[0][0].expand(*leading, -1, -1)
        prefix = text.read(context, deep_prompts=prompts.deep_prompts())
        encoded = text.encode(torch.cat((states, classes, end), dim=-2), prefix)
        return torch.nn.functional.normalize(encoded, dim=-1)

    torch.testing.assert_close(shared(), nothing_shared(), atol=1e-4, rtol=0)
    return {
        "prompts, prefixes shared": shared,
        "prompts, constant prefix read anew": constant_anew,
        "prompts, nothing shared": nothing_shared,
    }


def main() -> None:
    """Print a table of medians and ratios."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--backbone", default="ViT-L-14-336")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--folder", help="folder for the file of kept features")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = FrozenCLIP(arguments.backbone, None, activation="quick_gelu", position_resize="bilinear")
    model = CoPSModel(backbone).to(arguments.device)
    side = backbone.image_size
    images = torch.randn(arguments.batch, 3, side, side, device=arguments.device)
    masks = torch.zeros(arguments.batch, side, side, device=arguments.device)
    masks[::2, : side // 3, : side // 4] = 1
    batch = TrainingBatch(images, masks.amax(dim=(1, 2)), masks, ["object"])
    print(
        f"{arguments.backbone}, {side} px, batch {arguments.batch}, {torch.get_num_threads()} threads on a CPU"
        if arguments.device == "cpu"
        else f"{arguments.backbone}, {side} px, {torch.cuda.get_device_name()}"
    )
    steps, encodings = training_steps(model, batch, arguments.folder), text_encodings(model, 1)
    for variants, repeats in ((encodings, 4 * arguments.repeats), (steps, arguments.repeats)):
        found = medians(variants, repeats, arguments.device)
        first = next(iter(found.values()))
        for name, seconds in found.items():
            print(f"{name:40} {1000 * seconds:10.1f} ms   {first / seconds:6.2f} x the first")


if __name__ == "__main__":
    main()
