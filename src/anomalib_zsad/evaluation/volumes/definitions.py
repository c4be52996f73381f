"""What each figure means, in plain words, as the reports say it beside the figure (docs/protocol.md says more)."""

GROUPS = {
    "slices": "Slices",
    "volumes": "Volumes",
    "lesions": "Lesions pointed to (FROC)",
    "lesions by iou": "Lesions overlapped (intersection over union)",
    "lesions by dice": "Lesions overlapped (Dice)",
    "panoptic": "Panoptic quality",
    "segmentation": "Segmentation",
    "calibrated": "At the calibrated thresholds",
}

DEFINITIONS = {
    "AUROC": (
        "Chance that one with a lesion scores higher than one without, ties counted half; 50 % is guessing. Interval: "
        "95 %, from 2,000 resamples of patients."
    ),
    "sensitivity at 90 % specificity": (
        "Share of those with a lesion that are flagged at the lowest threshold at which at least 90 % of those without "
        "are not. Nothing is interpolated. The threshold was chosen on these data: on new data it does less well."
    ),
    "sensitivity at 95 % specificity": "The same for at least 95 % of those without.",
    "specificity at 90 % sensitivity": (
        "Share of those without a lesion that are not flagged at the highest threshold at which at least 90 % of those "
        "with one are."
    ),
    "specificity at 95 % sensitivity": "The same for at least 95 % of those with one.",
    "lesions found at": (
        "Share of all lesions that a mark finds (a place that lies in one; a region that overlaps one enough), at the "
        "lowest threshold with at most this many marks elsewhere in a volume on average, volumes without lesions "
        "included."
    ),
    "mean over these rates": "Mean of the seven shares above.",
    "average precision": (
        "All marks of the set ranked by score: the mean, over the lesions, of the share of marks so far that are "
        "lesions; 0 for a lesion that no mark finds. Interval: 95 %, from 2,000 resamples of patients."
    ),
    "panoptic quality": (
        "Sum of the intersections over union of all pairs of region and lesion that share more than half, divided by "
        "the pairs plus half of the false regions and missed lesions; the product of the two figures below."
    ),
    "recognition quality": "F1 of these pairs.",
    "segmentation quality": "Mean intersection over union of these pairs.",
    "best Dice (oracle)": (
        "Overlap of the map with the masks at the threshold where it is best for this set. An oracle: it was chosen "
        "with the answers in view and cannot be had in use."
    ),
    "normal volumes flagged by their score": (
        "Measured false alarms: to be compared with the rate asked for. Interval: exact (Clopper-Pearson), 95 %."
    ),
    "normal volumes with any marked voxel": "Volumes without a lesion whose map shows one all the same.",
    "slices of normal volumes flagged": "Measured on all slices of the volumes without a lesion.",
    "volumes with a lesion flagged by their score": "Sensitivity of the volume's score.",
    "volumes with a lesion with any marked voxel": "The mark may be anywhere in the volume.",
    "slices with a lesion flagged": "Sensitivity of the slices' scores.",
    "Dice": "Overlap of the map with the masks at the threshold fixed beforehand, on normal volumes alone.",
}


def definition(name: str) -> str:
    """What a figure means."""
    return DEFINITIONS["lesions found at"] if name.startswith("lesions found at") else DEFINITIONS[name]
