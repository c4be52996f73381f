"""What kind of picture an image type speaks of: magnitude or phase, an original or something computed from it."""

from pydicom.dataset import Dataset

from anomalib_zsad.volumes.reading.tag_values import integer

# Values of ImageType from the third on (PS3.3, C.8.3.1 and C.8.13.3.1; Siemens, GE and Philips), and what they are.
_COMPONENTS = {
    "magnitude": ("M", "MAG", "MAGNITUDE", "SW_M", "M_FFE", "M_SE", "M_IR", "M_PCA"),
    "phase": ("P", "PHASE", "PHASE MAP", "SW_P", "P_FFE", "P_SE", "P_IR", "VELOCITY MAP"),
    "real": ("R", "REAL", "R_FFE", "R_SE", "R_IR"),
    "imaginary": ("I", "IMAGINARY", "I_FFE", "I_SE", "I_IR"),
}
_DERIVED = {
    "adc": ("ADC", "EADC", "ADC_MAP", "DIFFUSION_ADC"),
    "fa": ("FA", "FRACTIONAL_ANISOTROPY"),
    "tensor": ("TENSOR", "TENSOR_B0"),
    "fieldmap": ("B0", "B0 MAP", "B0_MAP", "B1", "B1 MAP", "FIELD MAP", "FIELD_MAP", "FIELDMAP"),
    "relaxation": ("T1 MAP", "T2 MAP", "T2_STAR MAP", "T1_MAP", "T2_MAP", "T2_STAR_MAP", "R2_MAP", "R2_STAR_MAP"),
    "perfusion": ("CBF", "CBV", "MTT", "TTP", "TMAX", "RELCBF", "RELCBV", "RELMTT", "RCBF", "RCBV", "PBP", "GBP"),
    "projection": ("MIP", "MIN IP", "MNIP", "MINIP", "PROJECTION IMAGE", "PROJECTION_IMAGE", "MAXIMUM_IP_PROJECTION"),
    "subtraction": ("SUB", "SUBTRACTION", "SUBTRACT"),
}
_OF_COMPONENT = {word: name for name, words in _COMPONENTS.items() for word in words}
_OF_KIND = {word: name for name, words in _DERIVED.items() for word in words}
_GE_COMPONENT = (0x0043, 0x102F)
_GE_NAMES = ("magnitude", "phase", "real", "imaginary")

KINDS = {
    "adc": "a map of diffusion coefficients",
    "fa": "a map of anisotropy",
    "tensor": "a diffusion tensor",
    "fieldmap": "a field map",
    "relaxation": "a relaxation map",
    "perfusion": "a perfusion map",
    "projection": "a projection",
    "subtraction": "a subtraction",
    "phase": "a phase image",
    "real": "the real part of a complex image",
    "imaginary": "the imaginary part of a complex image",
    "derived": "an image computed from others",
}
"""Kinds of images that are no plain pictures, and what they are; everything else is `original`."""


def component_of(dataset: Dataset, image_type: tuple[str, ...], said: str) -> str:
    """`magnitude`, `phase`, `real` or `imaginary`; empty where the header does not say it.

    Args:
        dataset: The header, for GE's private element.
        image_type: ImageType, or the frame's type.
        said: ComplexImageComponent.
    """
    if said.lower() in _COMPONENTS:
        return said.lower()
    named = next((_OF_COMPONENT[part] for part in image_type[2:] if part in _OF_COMPONENT), "")
    if named or _GE_COMPONENT not in dataset:
        return named
    index = integer(dataset[_GE_COMPONENT].value)
    return _GE_NAMES[index] if index is not None and 0 <= index < len(_GE_NAMES) else ""


def kind_of(image_type: tuple[str, ...], component: str) -> str:
    """`original`, or one of `KINDS`."""
    named = next((_OF_KIND[part] for part in image_type[2:] if part in _OF_KIND), "")
    if named:
        return named
    if component in KINDS:
        return component
    return "derived" if image_type[:1] == ("DERIVED",) else "original"
