"""Tests of the web pages in a browser."""
