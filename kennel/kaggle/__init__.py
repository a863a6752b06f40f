"""Submissions to Kaggle by its official client, in a process of its own."""
