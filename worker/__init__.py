"""Folder jobs: folder -> shards -> rows -> one CSV, on RQ and Redis."""
