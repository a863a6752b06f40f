"""The command line, the local stack, the demo, the doctor and backups."""
