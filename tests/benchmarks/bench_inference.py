"""A whole answer against open_clip's vision tower alone: python tests/benchmarks/bench_inference.py [--device cuda].

One method and type at a time; R, the answer, and the machine's best matrix product alternate.
"""

import argparse
from collections.abc import Sequence

import torch
from measuring import (
    BOUNDS,
    BOUNDS_STAR,
    DTYPES,
    METHODS,
    TOWER_FLOPS,
    best_matrix_product,
    build,
    flops,
    images,
    medians,
    reference,
    row,
    seconds,
)

# Backbones that the methods were not published on, with heads that divide their width.
SMALLER = {"ViT-B-16": 8, "ViT-B-16-plus-240": 8}


def one_image(repeats: int, dtypes: Sequence[str] = tuple(DTYPES)) -> None:
    """Batch 1 on the CPU, both methods, both types, and what bfloat16 changes."""
    for dtype in dtypes:
        encode = reference(dtype)
        image = images(1, dtype)
        for method in METHODS:
            model = build(method, dtype).requires_grad_(False)  # as the counter of operations needs it
            peaks: list[float] = []
            variants = {
                "R": lambda encode=encode, image=image: encode(image),
                "answer": lambda model=model, image=image: model(image, "object"),
                "peak": lambda dtype=dtype, peaks=peaks: peaks.append(best_matrix_product(dtype)),
            }
            found = medians(variants, repeats)
            share = flops(variants["answer"]) / found["answer"] / max(peaks)
            must, aim = BOUNDS[method, dtype]
            details = {"R_seconds": found["R"], "share_of_matrix_peak": share, "peak_gflops": max(peaks) / 1e9}
            row(f"{method}, {dtype}, batch 1", found["answer"] / found["R"], "R", must, aim, **details)
            must, aim = BOUNDS_STAR.get((method, dtype), ("", ""))
            star = TOWER_FLOPS / max(peaks)
            details = {"R*_seconds": star, "answer_seconds": found["answer"]}
            row(f"{method}, {dtype}, batch 1, torch", found["answer"] / star, "R*", must, aim, **details)
            del model


def deviation() -> None:
    """What bfloat16 changes in scores and maps of seeded weights."""
    for method in METHODS:
        model, batch = build(method), images(2)
        exact = model(batch, "object")
        coarse = model.bfloat16()(batch.bfloat16(), "object")
        for what, must in (("pred_score", "0.02"), ("anomaly_map", "0.05")):
            difference = (getattr(coarse, what).float() - getattr(exact, what)).abs().max()
            row(f"{method}, bfloat16 from float32, {what}", float(difference), "largest difference", must)


def batch_of_eight(repeats: int) -> None:
    """Time an image in a batch of 8 against alone."""
    batch = images(8)
    for method in METHODS:
        model = build(method)
        alone, together = batch[:1], batch
        variants = {"1": lambda m=model, x=alone: m(x, "object"), "8": lambda m=model, x=together: m(x, "object")}
        found = medians(variants, repeats)
        row(f"{method}, float32, an image in a batch of 8", found["8"] / 8 / found["1"], "of batch 1", "1.00")
        del model


def smaller_backbones(repeats: int) -> None:
    """One image of 512 px over backbones for slower machines, against ViT-L-14-336 at 518 px in the same run."""
    large, image = {method: build(method) for method in METHODS}, images(1)
    for backbone, heads in SMALLER.items():
        for method in METHODS:
            model = build(method, backbone=backbone, extractor_heads=heads)
            variants = {
                "large": lambda m=large[method], x=image: m(x, "object"),
                "small": lambda m=model, x=image[..., :512, :512]: m(x, "object"),
            }
            found = medians(variants, repeats)
            row(f"{method} over {backbone}, float32", found["small"] / found["large"], "of ViT-L-14-336")
            del model


def gpu(repeats: int) -> None:
    """Images a second in bfloat16 at batch 16, and the share of the card's matrix peak."""
    for method in METHODS:
        plain = build(method).requires_grad_(False)
        per_image = flops(lambda plain=plain: plain(images(1), "object"))
        model, batch = build(method, "bfloat16", "cuda"), images(16, "bfloat16", "cuda")
        seconds(lambda model=model, batch=batch: model(batch, "object"), "cuda")
        peak = best_matrix_product("bfloat16", "cuda", tries=10)
        found = medians({"answer": lambda model=model, batch=batch: model(batch, "object")}, repeats, "cuda")
        rate = 16 / found["answer"]
        share = rate * per_image / peak
        name = torch.cuda.get_device_name()
        row(f"{method}, bfloat16, batch 16 on {name}", rate, "images/s", "", "", share_of_matrix_peak=share)
        row(f"{method}, share of the card's matrix peak", share, "of peak", "", "0.45")


@torch.inference_mode()
def main() -> None:
    """Print rows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--only", choices=[*DTYPES], help="one image in one type, and nothing else")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    arguments = parser.parse_args()
    if arguments.device == "cuda":
        gpu(4 * arguments.repeats)
        return
    if arguments.only:
        one_image(arguments.repeats, [arguments.only])
        return
    one_image(arguments.repeats)
    deviation()
    batch_of_eight(max(1, arguments.repeats // 2))
    smaller_backbones(max(1, arguments.repeats // 2))


if __name__ == "__main__":
    main()
