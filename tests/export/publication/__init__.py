"""Tests of `export.publication`."""
