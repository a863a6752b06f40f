"""Folder jobs over HTTP; the package `worker` does the work."""
