"""Tests of `export.recipes`."""
