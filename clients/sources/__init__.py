"""A platform's own files and tables, read into items and user sequences."""
