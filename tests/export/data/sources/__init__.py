"""Tests of `export.data.sources`."""
