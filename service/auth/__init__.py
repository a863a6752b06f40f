"""Who may use the service, how much of it, and from which web pages."""
