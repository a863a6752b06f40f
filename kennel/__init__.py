"""The command line, and what it starts: local stack, demo, doctor, backups."""
