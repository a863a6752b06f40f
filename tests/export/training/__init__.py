"""Tests of `export.training`."""
