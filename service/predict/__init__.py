"""Predictions and explanations of images, and the catalog of served models."""
