"""The coordinator: roll call, rounds, checks, aggregation, checkpoints and the log."""
