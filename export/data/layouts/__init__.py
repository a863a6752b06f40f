"""Layouts of a source: how folders and CSV files label its photos."""
