"""Labelled photos: sources, layouts, checks, splits, augmentation, cached pixels."""
