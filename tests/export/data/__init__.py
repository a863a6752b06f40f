"""Tests of what becomes a split: sources, checks, preparation."""
