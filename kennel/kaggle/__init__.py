"""Hands a CSV in through Kaggle's official client, which runs in a process of its own."""
