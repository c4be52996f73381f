"""Time and memory of a whole evaluation: 2,000 images of 518 px with the demo backbone by default.

    python tests/benchmarks/bench_evaluate.py [--images 2000] [--side 518] [--input 192] [--protocol deployable]

The tree is drawn into a temporary folder. `--input` is the side of the model's input and of its maps.
"""

import argparse
import resource
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from anomalib_zsad.evaluation.evaluate import evaluate
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.subject import build_subject
from anomalib_zsad.evaluation.targets import path_target


def draw_tree(root: Path, count: int, side: int) -> Path:
    """A tree of one category, half normal, half with a bright square and its mask."""
    generator = np.random.default_rng(0)
    for index in range(count):
        pixels = generator.integers(80, 120, (side // 8, side // 8, 3), dtype=np.uint8)
        pixels = np.asarray(Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)).copy()
        kind = "spot" if index % 2 else "good"
        if index % 2:
            y, x = generator.integers(0, side - side // 5, 2)
            pixels[y : y + side // 6, x : x + side // 6] = 200
            mask = np.zeros((side, side), dtype=np.uint8)
            mask[y : y + side // 6, x : x + side // 6] = 255
            save(mask, root / "part" / "ground_truth" / "spot" / f"{index:05}.png")
        save(pixels, root / "part" / "test" / kind / f"{index:05}.png")
    return root


def save(pixels: np.ndarray, path: Path) -> None:
    """Write a PNG, fast rather than small."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, compress_level=1)


def peak() -> float:
    """Largest resident memory so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    """Draw, evaluate, and print milliseconds an image and peak memory."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--side", type=int, default=518)
    parser.add_argument("--input", type=int)
    parser.add_argument("--model", default="BayesPFL")
    parser.add_argument("--protocol", default="deployable")
    parser.add_argument("--batch-size", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        tree = draw_tree(Path(folder) / "tree", arguments.images, arguments.side)
        subject = build_subject(None, arguments.model, {"backbone": "demo", "image_size": arguments.input})
        before = peak()
        start = time.perf_counter()
        settings = Settings((arguments.protocol,), batch_size=arguments.batch_size)
        result = evaluate([subject], [path_target(tree)], Path(folder) / "out", settings).results[0]
        seconds = time.perf_counter() - start
    side = subject.model.backbone.image_size
    print(f"{arguments.model}, {result.images} images of {arguments.side} px, input {side} px, {arguments.protocol}")
    print(f"{1000 * seconds / result.images:.0f} ms an image; peak memory {peak():.0f} MiB, {before:.0f} before")
    print(dict(result.metrics))


if __name__ == "__main__":
    main()
