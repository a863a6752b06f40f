"""Tests of `export.stages`."""
