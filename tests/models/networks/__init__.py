"""Tests of `models.networks`."""
