"""From nothing to a platform that may take part."""
