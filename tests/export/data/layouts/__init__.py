"""Tests of `export.data.layouts`."""
