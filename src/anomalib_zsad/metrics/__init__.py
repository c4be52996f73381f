"""Ranking metrics in bounded memory."""

from anomalib_zsad.metrics.collection import (
    IMAGE_METRICS,
    METRICS,
    PIXEL_METRICS,
    ImageMetrics,
    PixelMetrics,
    streaming_evaluator,
    streaming_metrics,
)
from anomalib_zsad.metrics.streaming import (
    ScoreSummary,
    StreamingAUPRO,
    StreamingAUROC,
    StreamingAveragePrecision,
    StreamingF1Max,
)

__all__ = [
    "IMAGE_METRICS",
    "METRICS",
    "PIXEL_METRICS",
    "ImageMetrics",
    "PixelMetrics",
    "ScoreSummary",
    "StreamingAUPRO",
    "StreamingAUROC",
    "StreamingAveragePrecision",
    "StreamingF1Max",
    "streaming_evaluator",
    "streaming_metrics",
]
