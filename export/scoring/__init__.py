"""Submission CSVs: read strictly, scored offline, checked before upload."""
