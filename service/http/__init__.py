"""HTTP for all routes: limits, parsing, headers, deadlines, errors, request records."""
