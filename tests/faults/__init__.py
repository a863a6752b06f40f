"""The fault matrix: what breaks, and what must still be true afterwards."""
