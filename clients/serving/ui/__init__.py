"""The platform's own page."""
