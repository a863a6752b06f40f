"""A canary beside the version that answers."""
