"""Running a federation on one machine: the real ServerApp and ClientApp, without a network."""

import os

# Read by Flower when it is first imported: no telemetry, no look for updates, no `uv sync`.
for _name, _value in {
    "FLWR_TELEMETRY_ENABLED": "0",
    "FLWR_DISABLE_UPDATE_CHECK": "1",
    "FLWR_DISABLE_RUNTIME_DEPENDENCY_INSTALLATION": "1",
}.items():
    os.environ.setdefault(_name, _value)
