"""What is measured, against what: ratios to the bare SavedModel in the same run."""
