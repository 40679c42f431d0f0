"""The protocol of the service: `serving.proto`, and what is generated from it."""
