"""A sheet of pictures: a slice with a lesion and the same slice of the lesion-free twin, of each kind of phantom."""

import tempfile
from pathlib import Path

import numpy as np

from anomalib_zsad.demo.heatmap_sheet import Shown, draw_sheet
from anomalib_zsad.demo.phantoms import MODALITIES, SAMPLES, Phantom, make_phantom, write_nifti
from anomalib_zsad.models.components.examination import Examination
from anomalib_zsad.scoring.build import build_scorer
from anomalib_zsad.scoring.scores import SliceScorer
from anomalib_zsad.screening.options import VolumeOptions
from anomalib_zsad.screening.volume_pass import cut_slices
from anomalib_zsad.volumes.reading.nifti_reader import read_nifti


def draw_medical_sheet(checkpoint: Path, path: Path) -> None:
    """Write the sheet of the sample set's phantoms: below each slice what the model makes of it.

    Args:
        checkpoint: A model that the demonstration trained.
        path: PNG file to write.
    """
    scorer = build_scorer(checkpoint, class_name="brain")
    shown = []
    for kind, word, seed in SAMPLES:
        ill = make_phantom(kind, seed, lesion=True)
        # Twins have the same anatomy and noise, so that the same slice of both differs in the lesion alone.
        index = int(ill.mask.sum(axis=(0, 1)).argmax())
        for phantom, caption in (
            (ill, f"{kind}: {word}"),
            (make_phantom(kind, seed, lesion=False), f"{kind}: its twin"),
        ):
            shown.append(_examined(scorer, phantom, index, caption))
    draw_sheet(shown, path, "Phantoms, demo backbone: no product (true lesions outlined)", columns=4)


def _examined(scorer: SliceScorer, phantom: Phantom, index: int, caption: str) -> Shown:
    options = VolumeOptions()
    with tempfile.TemporaryDirectory() as folder:
        files = [write_nifti(Path(folder) / "image.nii.gz", phantom.voxels, phantom.affine)]
        files += [write_nifti(Path(folder) / "mask.nii.gz", phantom.mask.astype(np.uint8), phantom.affine)]
        stack, truth = (cut_slices(read_nifti(file, modality=MODALITIES[phantom.kind]), options) for file in files)
    answer = scorer(stack.batch([index]))
    heat, image = answer.anomaly_map[0].numpy(), stack.image(index)
    deviation = 0.0 if answer.score_std is None else float(answer.score_std[0])
    grey = np.repeat((image * 255).astype(np.uint8)[..., None], 3, axis=-1)
    finding = Examination(float(answer.score[0]), deviation, heat, np.zeros_like(heat), grey)
    return Shown(caption, finding, truth.values(index) > 0)
