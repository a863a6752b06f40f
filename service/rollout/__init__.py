"""A new version beside the one that answers: its share of the requests, and how it does."""
