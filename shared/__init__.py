"""What a platform and the coordinator must agree on: no sockets, no knowledge of who calls."""
