"""Folder jobs over HTTP; the work is done by worker."""
