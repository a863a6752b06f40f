"""Tests of `export.scoring`."""
