"""Kennel in containers: images, configuration of its services, rehearsals and drills."""
