"""From a plan to a finished run: members, their stages in order, validation."""
