"""Kennel in containers: images, configuration of services, rehearsals and drills."""
