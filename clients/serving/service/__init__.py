"""gRPC and JSON in front of the engine, and a typed client."""
