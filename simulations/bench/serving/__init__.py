"""How fast and how right the service's search is, beside libraries and a plain service."""
