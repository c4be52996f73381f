"""Zero-shot anomaly detection for anomalib: Bayes-PFL and CoPS."""
