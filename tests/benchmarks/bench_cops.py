"""What CoPS saves by prompt prefixes read once (kept features: bench_training.py).

    python tests/benchmarks/bench_cops.py [--backbone ViT-L-14-336] [--repeats 3] [--device cpu]

The backbone has random weights: only ratios within one run mean anything. Variants alternate, and medians are printed.
"""

import argparse
from collections.abc import Callable

import torch
from measuring import medians

from anomalib_zsad.backbone import FrozenCLIP
from anomalib_zsad.models.cops.torch_model import CoPSModel


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
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    arguments = parser.parse_args()
    torch.manual_seed(0)
    backbone = FrozenCLIP(arguments.backbone, None, activation="quick_gelu", position_resize="bilinear")
    model = CoPSModel(backbone).to(arguments.device)
    place = f"{torch.get_num_threads()} threads on a CPU" if arguments.device == "cpu" else torch.cuda.get_device_name()
    print(f"{arguments.backbone}, {place}")
    found = medians(text_encodings(model, 1), 4 * arguments.repeats, arguments.device)
    first = next(iter(found.values()))
    for name, seconds in found.items():
        print(f"{name:40} {1000 * seconds:10.1f} ms   {first / seconds:6.2f} x the first")


if __name__ == "__main__":
    main()
