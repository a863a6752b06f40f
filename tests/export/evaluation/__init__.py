"""Tests of `export.evaluation`, on generated logits."""
