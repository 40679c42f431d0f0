"""What the federated model is measured against, one system a file."""
