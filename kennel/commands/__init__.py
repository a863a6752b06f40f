"""The commands of `kennel`, one module for each kind of work."""
