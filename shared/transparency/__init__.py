"""The signed record: statements, their signed envelopes, and the logs they are kept in."""
