"""Other servers doing the same work, each as its own documentation shows.

They live in `.venv-peers` (`make peers`), never beside Kennel's own dependencies.
"""
