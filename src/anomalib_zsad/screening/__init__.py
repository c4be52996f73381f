"""Screening: from volumes to decisions, maps and pages; and its calibration on normal volumes."""
