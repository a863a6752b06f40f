"""Clients that post one photo again and again, and what became of their requests."""
