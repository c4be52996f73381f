"""Every class name of the published meta files becomes the published words and tokens."""

import open_clip
import pytest
import torch

from anomalib_zsad.backbone.text import token_ids
from anomalib_zsad.models.bayes_pfl.prompts import SPOKEN_NAMES, spoken_name

MVTEC = [
    "bottle",
    "cable",
    "capsule",
    "carpet",
    "grid",
    "hazelnut",
    "leather",
    "metal_nut",
    "pill",
    "screw",
    "tile",
    "toothbrush",
    "transistor",
    "wood",
    "zipper",
]
VISA = [
    "candle",
    "capsules",
    "cashew",
    "chewinggum",
    "fryum",
    "macaroni1",
    "macaroni2",
    "pcb1",
    "pcb2",
    "pcb3",
    "pcb4",
    "pipe_fryum",
]
OTHERS = [
    *("01", "02", "03"),  # BTAD
    *("bracket_black", "bracket_brown", "bracket_white", "connector", "metal_plate", "tubes"),  # MPDD
    *(f"Class{number}" for number in range(1, 11)),  # DAGM
    *("Blotchy_099", "Fibrous_183", "Marbled_078", "Matted_069", "Mesh_114", "Perforated_037", "Stratified_154"),  # DTD
    *("Woven_001", "Woven_068", "Woven_104", "Woven_125", "Woven_127"),
    *("electrical commutators", "rail", "surface defects", "brain", "colon", "skin", "thyroid", "head", "object"),
]
# The published map; every other name is said in lower case as it stands.
SAID = {
    "macaroni1": "macaroni",
    "macaroni2": "macaroni",
    "pcb1": "printed circuit board",
    "pcb2": "printed circuit board",
    "pcb3": "printed circuit board",
    "pcb4": "printed circuit board",
    "pipe_fryum": "pipe fryum",
    "chewinggum": "chewing gum",
    "metal_nut": "metal nut",
}


def test_the_map_is_the_published_one() -> None:
    assert SPOKEN_NAMES == SAID


@pytest.mark.parametrize("name", [*MVTEC, *VISA, *OTHERS])
def test_a_name_is_said_and_cut_into_tokens_as_published(name) -> None:
    """The published code tokenises `X X ... X name` with CLIP's tokeniser and keeps what follows the X's."""
    said = SAID.get(name, name.lower())
    assert spoken_name(name) == spoken_name(name.upper()) == said
    placeholders = 10
    (row,) = open_clip.tokenize([" ".join(["X"] * placeholders) + " " + said])
    end = int(row.argmax())
    following = row[1 + placeholders : end]
    assert torch.equal(torch.tensor(token_ids(said)), following)
    assert 1 <= len(following) <= 77 - 2 - placeholders
