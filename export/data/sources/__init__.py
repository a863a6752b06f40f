"""Files of a source: in folders, in archives, in IDX arrays."""
