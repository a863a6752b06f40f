"""What training and serving must agree on; it imports no other package of the project."""

VERSION = "0.1.0"
"""Kennel's version; pyproject.toml takes it from here."""
