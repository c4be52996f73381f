"""From an evaluation and a table to strata."""

from anomalib_zsad.evaluation.evaluate import Evaluation
from anomalib_zsad.evaluation.settings import Settings
from anomalib_zsad.evaluation.strata.image_strata import image_strata
from anomalib_zsad.evaluation.strata.strata_table import NOT_TOLD, StrataTable
from anomalib_zsad.evaluation.strata.stratum import Stratum
from anomalib_zsad.evaluation.strata.volume_strata import volume_strata

_HOW = {
    "image": "an image by its path, or the end of it",
    "volume": "a volume by its pseudonym in volumes.csv, or by its name in the data set",
    "series": "a series by its pseudonym in volumes.csv, or by its name in the data set",
    "patient": "a patient by the pseudonym in volumes.csv, or as the data set has it, where it has patients",
}


def make_strata(evaluation: Evaluation, table: StrataTable, settings: Settings) -> list[Stratum]:
    """Strata of all that was evaluated: of volumes by the figures for readers, of images by theirs.

    Args:
        evaluation: What came of an evaluation.
        table: Which stratum each patient, volume or image belongs to.
        settings: How it was evaluated.

    Raises:
        ValueError: If the table says nothing of anything that was evaluated, or one row names several images.
    """
    found = [one for volumes in evaluation.volume_sets for one in volume_strata(volumes, table)]
    for result in evaluation.results:
        if result.names:
            found += image_strata(result, table, settings)
    if all(one.value == NOT_TOLD for one in found):
        raise ValueError(
            f"none of the {len(table.rows)} rows of the strata is of anything that was evaluated. The column "
            f"{table.key} names {_HOW[table.key]}."
        )
    return found
