"""What a partner runs: sidecar, SuperNode, executor with its worker, and who watches them."""
