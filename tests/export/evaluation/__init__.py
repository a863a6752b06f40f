"""Metrics, calibration and diagnosis, on generated logits."""
