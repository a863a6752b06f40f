"""Submissions to Kaggle through its official client, in a process of its own."""
