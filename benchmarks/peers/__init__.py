"""Other servers doing the same work, each as its own documentation shows.

They are installed in `.venv-peers` (`make peers`), apart from Kennel's dependencies.
"""
