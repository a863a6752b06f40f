"""What starts, watches and rehearses Kennel in containers."""
