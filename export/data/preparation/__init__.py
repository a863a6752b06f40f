"""From a source of photos to a folder that trains, without ever losing a file."""
