"""Submission CSVs that are already there: read strictly, scored, checked before sending."""
