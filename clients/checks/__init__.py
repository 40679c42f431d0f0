"""What `check` looks at; `clients.preflight` says in which order."""
