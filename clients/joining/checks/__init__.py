"""What `check` looks at; `clients.joining.preflight` says in which order."""
