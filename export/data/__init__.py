"""Labelled photos: lists, splits and what is cached of them."""
