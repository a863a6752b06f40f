"""Image files: their formats, their limits, and their pixels; the only user of Pillow."""
