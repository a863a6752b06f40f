"""Tests of `kennel`."""
