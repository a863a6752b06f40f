"""Recipes: how a model is trained, as data."""
