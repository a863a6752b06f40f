"""Tests of `export.data`."""
