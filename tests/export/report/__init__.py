"""Tests of `export.report`."""
