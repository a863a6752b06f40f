"""Submissions that are read, scored and checked."""
