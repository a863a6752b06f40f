"""Calibration and metrics of probabilities on validation photos."""
