"""DICOM structured report of what was found (TID 1500): the series as a whole, and one group for each region."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from anomalib_zsad.outputs.quiet_pydicom import quiet_pydicom
from anomalib_zsad.volumes.region_shapes import RegionShape
from anomalib_zsad.volumes.regions import Region
from anomalib_zsad.volumes.writing import codes as own
from anomalib_zsad.volumes.writing.derived_object import MANUFACTURER, Algorithm, describe_series, settle_uids
from anomalib_zsad.volumes.writing.dicom_source import SourceImages

if TYPE_CHECKING:
    from highdicom.sr import (
        AlgorithmIdentification,
        Measurement,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        PlanarROIMeasurementsAndQualitativeEvaluations,
    )

_DECISIONS = {"abnormal": own.ABOVE, "normal": own.BELOW, "uncertain": own.UNCERTAIN, "blank": own.BLANK}
_RAS_TO_LPS = np.array([-1.0, -1.0, 1.0])


@dataclass(frozen=True)
class ReportedRegion:
    """A region, its shape, and the conformal p-value of its peak; `None` without a calibration."""

    region: Region
    shape: RegionShape
    p_value: float | None


@dataclass(frozen=True)
class ReportedSeries:
    """What the report says of the series.

    Attributes:
        score: In [0, 1].
        score_std: Standard deviation over the sampled prompts; `None` if the model has none.
        p_value: Conformal p-value of the score; `None` without a calibration.
        decision: `abnormal`, `normal`, `uncertain` or `blank`; `None` without a calibration.
        mask_threshold: From which value of the map on regions were found.
        statement: What the scores mean, and what for.
        regions: Those told one by one, highest peak first.
        count: How many regions there are.
    """

    score: float
    score_std: float | None
    p_value: float | None
    decision: str | None
    mask_threshold: float
    statement: str
    regions: Sequence[ReportedRegion]
    count: int


def write_report(path: Path, source: SourceImages, found: ReportedSeries, algorithm: Algorithm) -> None:
    """Write a Comprehensive 3D SR (PS3.16, TID 1500) with regions in coordinates of the patient.

    Args:
        path: A new file.
        source: The source images.
        found: What it says.
        algorithm: What found it.
    """
    from highdicom.sr import Comprehensive3DSR, MeasurementReport
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    said = _algorithm(found, algorithm)
    frame_of_reference = str(source.headers[0].FrameOfReferenceUID)
    groups: list[Any] = [_whole(found, said)]
    groups += [_region(number, one, frame_of_reference, said) for number, one in enumerate(found.regions, 1)]
    with quiet_pydicom():
        report = MeasurementReport(
            observation_context=_observer(algorithm),
            procedure_reported=codes.SCT.ImagingProcedure,
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
            # highdicom's image library describes single frames alone; the evidence names multi-frame sources too.
            referenced_images=None if "NumberOfFrames" in source.headers[0] else source.headers,
        )
        made = Comprehensive3DSR(
            evidence=source.headers,
            content=report[0],
            series_instance_uid=generate_uid(),
            series_number=902,
            sop_instance_uid=generate_uid(),
            instance_number=1,
            manufacturer=MANUFACTURER,
            is_complete=True,
            is_final=False,
            is_verified=False,
        )
        made.ManufacturerModelName, made.SoftwareVersions = algorithm.name, algorithm.version
        describe_series(made, source, "Anomaly report")
        settle_uids(made, source, algorithm, "report")
        made.save_as(path)


def _observer(algorithm: Algorithm) -> "ObservationContext":
    """A device made the observations."""
    from highdicom.sr import DeviceObserverIdentifyingAttributes, ObservationContext, ObserverContext
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    device = DeviceObserverIdentifyingAttributes(
        uid=generate_uid(), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=algorithm.name
    )
    return ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device))


def _algorithm(found: ReportedSeries, algorithm: Algorithm) -> "AlgorithmIdentification":
    from highdicom.sr import AlgorithmIdentification

    return AlgorithmIdentification(algorithm.name, algorithm.version, parameters=[found.statement])


def _measured(concept: own.Concept, value: float | None, unit: Any) -> "list[Measurement]":
    """A measurement of a concept of our own, none where there is no value."""
    from highdicom.sr import Measurement

    return [] if value is None else [Measurement(concept.concept(), float(f"{value:.6g}"), unit)]


def _whole(found: ReportedSeries, said: "AlgorithmIdentification") -> "MeasurementsAndQualitativeEvaluations":
    """The group about the series as a whole."""
    from highdicom.sr import MeasurementsAndQualitativeEvaluations, QualitativeEvaluation, TrackingIdentifier
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    one = codes.UCUM.NoUnits
    decided = []
    if found.decision is not None:
        decided = [QualitativeEvaluation(own.DECISION.concept(), _DECISIONS[found.decision].concept())]
    return MeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid=generate_uid(), identifier="series"),
        finding_type=own.SERIES.concept(),
        algorithm_id=said,
        measurements=[
            *_measured(own.ANOMALY_SCORE, found.score, one),
            *_measured(own.SCORE_DEVIATION, found.score_std, one),
            *_measured(own.P_VALUE, found.p_value, one),
            *_measured(own.THRESHOLD, found.mask_threshold, one),
            *_measured(own.REGION_COUNT, found.count, one),
        ],
        qualitative_evaluations=decided,
    )


def _region(
    number: int, found: ReportedRegion, frame_of_reference: str, said: "AlgorithmIdentification"
) -> "PlanarROIMeasurementsAndQualitativeEvaluations":
    """The group of one region: its outline on the slice of its peak, and its figures."""
    from highdicom.sr import (
        GraphicTypeValues3D,
        ImageRegion3D,
        Measurement,
        PlanarROIMeasurementsAndQualitativeEvaluations,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes
    from pydicom.uid import generate_uid

    one, region = codes.UCUM.NoUnits, found.region
    sizes = [Measurement(codes.SCT.LongAxis, round(found.shape.longest_diameter, 2), codes.UCUM.Millimeter)]
    if region.volume_mm3 is not None:
        sizes.append(Measurement(codes.SCT.Volume, round(region.volume_mm3, 2), codes.UCUM.CubicMillimeter))
    outline = found.shape.outline * _RAS_TO_LPS
    return PlanarROIMeasurementsAndQualitativeEvaluations(
        TrackingIdentifier(uid=generate_uid(), identifier=f"region {number}"),
        referenced_region=ImageRegion3D(GraphicTypeValues3D.POLYGON, outline, frame_of_reference),
        finding_type=own.REGION.concept(),
        algorithm_id=said,
        measurements=[*sizes, *_measured(own.PEAK, region.peak, one), *_measured(own.P_VALUE, found.p_value, one)],
    )
