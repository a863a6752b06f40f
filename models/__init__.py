"""Code that training and serving share; imports no other package of the project."""

VERSION = "0.1.0"
"""Kennel's version; pyproject.toml takes it from here."""
