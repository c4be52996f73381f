"""Time and memory of the streaming pixel metrics: 2,000 images of 518 px by default.

    python tests/benchmarks/bench_metrics.py [--images 2000] [--side 518]

Maps are drawn from a few hundred precomputed ones, smoothed as real maps are, so that drawing does not dominate.
"""

import argparse
import resource
import time

import torch

from anomalib_zsad.metrics import PixelMetrics


def make_pool(count: int, side: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Smooth random maps in a narrow range, and masks of which half are empty."""
    generator = torch.Generator().manual_seed(0)
    coarse = torch.randn(count, 1, 37, 37, generator=generator)
    masks = torch.zeros(count, side, side, dtype=torch.bool)
    masks[::2, side // 4 : side // 3, side // 4 : side // 2] = True
    latent = torch.nn.functional.interpolate(coarse, size=(side, side), mode="bilinear", align_corners=True)[:, 0]
    return 0.5 + 0.01 * torch.tanh(latent + masks), masks


def main() -> None:
    """Feed the metrics and print milliseconds an image, growth of memory and the values."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=518)
    arguments = parser.parse_args()
    maps, masks = make_pool(64, arguments.side)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    metrics = PixelMetrics()
    start = time.perf_counter()
    for index in range(arguments.images):
        part = slice(index % 64, index % 64 + 1)
        # Every image has its own scores, so that no two passes over the pool tie.
        metrics.update(maps[part] + 1e-6 * index, masks[part])
    updated = time.perf_counter()
    values = metrics.compute()
    computed = time.perf_counter()
    after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{arguments.images} images of {arguments.side} px, {torch.get_num_threads()} threads")
    print(f"update: {1000 * (updated - start) / arguments.images:.1f} ms an image; compute: {computed - updated:.2f} s")
    print(f"peak memory: {after:.0f} MiB, {after - before:.0f} MiB more than before the first image")
    print({name: round(value, 5) for name, value in values.items()})


if __name__ == "__main__":
    main()
