"""The coordinator as processes that run, die and go on."""
