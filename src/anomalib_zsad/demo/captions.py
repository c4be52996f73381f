"""Captions of drawings: states, names, colours and kinds of defect, tokenised by open_clip's tokenizer."""

import colorsys
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from anomalib_zsad.demo.drawing.anatomy import ORGANS
from anomalib_zsad.demo.drawing.defects import KINDS
from anomalib_zsad.demo.drawing.lesions import LESIONS
from anomalib_zsad.demo.drawing.materials import MATERIALS
from anomalib_zsad.demo.drawing.objects import OBJECTS
from anomalib_zsad.demo.drawing.surface_faults import SURFACE_FAULTS
from anomalib_zsad.demo.drawing.textures import TEXTURE_NAMES

NORMAL_STATES = ("flawless", "perfect", "intact", "unblemished", "normal", "undamaged", "good", "clean")
ABNORMAL_STATES = ("damaged", "defective", "broken", "flawed", "abnormal", "faulty", "imperfect", "bad")
TEMPLATES = (
    "a photo of a {}",
    "a close-up photo of a {}",
    "a picture of the {}",
    "an image of one {} for inspection",
    "the {}",
    "{}",
    "this is a photo of a {} on the production line",
)
GENERAL_NAMES = ("object", "product", "surface", "part", "material")
# Names whose tokens have no embedding of their own: they train the one that all unknown words share.
FOREIGN_NAMES = ("hazelnut", "bottle", "cable", "toothbrush", "zipper", "lemon", "engine", "chair")
COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink", "brown")
KIND_NAMES = {
    **{kind: kind for kind in (*KINDS, *SURFACE_FAULTS, *LESIONS)},
    "chip": "chip",
    "distortion": "twist",
    "misplaced": "misplaced piece",
}


@lru_cache(maxsize=1)
def _tokenizer() -> Any:  # a class of open_clip, imported late
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()


@lru_cache(maxsize=100_000)
def tokens(text: str) -> tuple[int, ...]:
    """Token ids of a caption from SOS to EOT."""
    tokenizer = _tokenizer()
    return (tokenizer.encoder["<start_of_text>"], *tokenizer.encode(text), tokenizer.encoder["<end_of_text>"])


def vocabulary() -> list[int]:
    """Ids of all tokens that captions may hold, foreign names apart."""
    texts = [*NORMAL_STATES, *ABNORMAL_STATES, *GENERAL_NAMES, *COLOURS, *KIND_NAMES.values(), *MATERIALS, *OBJECTS]
    texts += [*TEXTURE_NAMES, *ORGANS]
    texts += [template.format("") for template in TEMPLATES] + ["with a, without any defect, panel"]
    return sorted({token for text in texts for token in tokens(text)})


def choose_name(rng: np.random.Generator, name: str) -> str:
    """The name itself, or now and then a general or a foreign one."""
    draw = rng.random()
    if draw < 0.7:
        return name
    return str(rng.choice(GENERAL_NAMES if draw < 0.85 else FOREIGN_NAMES))


def state_prompts(rng: np.random.Generator, names: list[str]) -> tuple[list[str], list[str]]:
    """For each name a normal and an abnormal caption that differ in the state alone."""
    template = str(rng.choice(TEMPLATES))
    normal, abnormal = str(rng.choice(NORMAL_STATES)), str(rng.choice(ABNORMAL_STATES))
    chosen = [choose_name(rng, name) for name in names]
    return [template.format(f"{normal} {name}") for name in chosen], [
        template.format(f"{abnormal} {name}") for name in chosen
    ]


def kind_prompts(rng: np.random.Generator, kinds: list[str]) -> list[str]:
    """A caption for each kind of defect."""
    template = str(rng.choice(TEMPLATES))
    return [template.format(KIND_NAMES[kind]) for kind in kinds]


def full_caption(rng: np.random.Generator, name: str, kind: str | None, tint: str) -> str:
    """What one picture shows: its state, colour, name, and the kind of defect if it has one."""
    state = str(rng.choice(NORMAL_STATES if kind is None else ABNORMAL_STATES))
    words = f"{state} {tint} {name}" if rng.random() < 0.7 else f"{state} {name}"
    end = "" if rng.random() < 0.4 else (" without any defect" if kind is None else f" with a {KIND_NAMES[kind]}")
    return str(rng.choice(TEMPLATES)).format(words) + end


def colour_name(rgb: NDArray[np.float32]) -> str:
    """The plain name of a colour (3,) in [0, 1]."""
    hue, saturation, value = colorsys.rgb_to_hsv(*(float(channel) for channel in np.clip(rgb, 0, 1)))
    if value < 0.18:
        return "black"
    if saturation < 0.15:
        return "white" if value > 0.75 else "grey"
    if hue < 0.11 and value < 0.6:
        return "brown"
    edges = (
        (0.04, "red"),
        (0.11, "orange"),
        (0.19, "yellow"),
        (0.45, "green"),
        (0.7, "blue"),
        (0.82, "purple"),
        (0.95, "pink"),
    )
    return next((name for edge, name in edges if hue < edge), "red")
