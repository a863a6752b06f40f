"""Who may use the service, how much of it, and what every answer says to browsers."""
