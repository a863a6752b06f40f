"""How good a run is: predictions, metrics, calibration, Kaggle's score."""
