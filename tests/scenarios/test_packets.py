"""No telemetry: of all that a deployment sends, nothing goes anywhere but where it must."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.usefixtures("nginx")

PROJECT = Path(__file__).resolve().parents[2]
NAMESPACE = ("unshare", "--user", "--map-root-user", "--net")
PARTNERS = ("bazaar", "tempo", "herald")


@pytest.mark.slow
def test_nothing_is_sent_but_to_the_gateway() -> None:
    """Not a packet leaves the machine, not a name is looked up, and from a partner's side only its
    sidecar speaks to the coordinator's, and only to the gateway.

    Switches that would keep Flower and others quiet are taken away first: it must be ours that do.
    """
    if shutil.which("unshare") is None or subprocess.run([*NAMESPACE, "true"]).returncode:
        pytest.skip("no network namespaces here")
    quiet = ("FLWR_TELEMETRY_ENABLED", "FLWR_DISABLE_UPDATE_CHECK", "DO_NOT_TRACK")
    env = {key: value for key, value in os.environ.items() if key not in quiet}
    script = str(Path(__file__).with_name("packets.py"))
    done = subprocess.run(
        [*NAMESPACE, sys.executable, script, "3"],
        env=env | {"PYTHONPATH": str(PROJECT)},
        capture_output=True,
        text=True,
        timeout=400,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["rounds"] == 3
    # what is sent to the world is seen, by address and by name
    assert {"192.0.2.7:9", "192.0.2.7:443"} < set(seen["control"])
    assert any(one.endswith(":53") for one in seen["control"])
    assert seen["lost"] == 0
    assert seen["outside"] == {}
    assert seen["datagrams"] == {}
    listened = {int(port): who for port, who in seen["listened"].items()}
    assert {int(port) for port in seen["opened"]} <= listened.keys()

    gateway = seen["gateway"]
    assert listened[gateway] == "coordinator nginx"
    assert seen["opened"][str(gateway)] > 0
    callers = {who: set(ports) for who, ports in seen["callers"].items()}
    at_gateway = {who for who, ports in callers.items() if gateway in ports}
    assert at_gateway == {f"{name} nginx" for name in PARTNERS}
    for who, ports in callers.items():
        mine = {port for port, owner in listened.items() if owner.split()[0] == who.split()[0]}
        assert ports <= mine | ({gateway} if who in at_gateway else set()), who
