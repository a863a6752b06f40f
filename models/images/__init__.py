"""Images: encoded bytes to pixels, what a file is, and what it may cost; the only Pillow."""
