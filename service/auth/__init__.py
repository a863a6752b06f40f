"""Access to the service: API keys, login, rate limits, hosts and origins."""
