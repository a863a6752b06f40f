"""Labelled photos -> split -> features -> training -> a published SavedModel."""
