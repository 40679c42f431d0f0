"""What Prometheus is told: all that is described, and nothing of anybody."""

import json
import time

from clients.home import Home
from clients.joining.rehearsal import request_for
from clients.node.control import pause
from clients.node.measures import DESCRIBED, Measures
from clients.node.refusals import Refusals
from clients.node.status import status
from clients.platform import Platform
from shared.errors import PolicyRefusal


def measures(home: Home) -> Measures:
    return Measures(home, lambda: {"executor": (True, 2, None)}, time.time())


def test_at_least_25_and_none_of_them_counts_people(home: Home) -> None:
    assert len(DESCRIBED) >= 25
    assert len({one.name for one in DESCRIBED}) == len(DESCRIBED)
    platform = Platform.open(home.folder.platform)
    platform.train(request_for(platform, home.enrolment().federation))
    error = PolicyRefusal(expected="steps 1 to 9", got="10", where="policy, steps")
    Refusals(home.folder.state / "refusals.jsonl").note(error, message="train")
    text = measures(home).text().decode()
    assert 'fedinterest_client_steps_charged{ledger="shop.jsonl"} 2.0' in text
    assert 'fedinterest_client_refusals_on_record{kind="PolicyRefusal"} 1.0' in text
    assert 'fedinterest_client_program_restarts_total{program="executor"} 2.0' in text
    assert "fedinterest_client_ledger_sound 1.0" in text
    assert 29 < measures(home).read()["fedinterest_client_certificate_days_left"] <= 30
    numbers = {line.rsplit(" ", 1)[1] for line in text.splitlines() if line[0] != "#"}
    assert not numbers & {"120.0", "800.0"}  # its users and events
    pause(home.folder)
    assert "fedinterest_client_paused 1.0" in measures(home).text().decode()
    for path in home.folder.ledgers.glob("shop.jsonl*"):
        path.unlink()
    home.anchor.path.parent.mkdir(parents=True, exist_ok=True)
    home.anchor.path.write_text("damaged")
    assert "fedinterest_client_ledger_sound 0.0" in measures(home).text().decode()


def test_status_of_what_does_not_run(home: Home) -> None:
    found = status(home)
    json.dumps(found, allow_nan=False)
    assert (found["running"], found["prepared"], found["problem"]) == (False, True, None)
    assert found["budget"]["total_epsilon"] == 0.0
    home.folder.enrolment.unlink()
    assert "enrolment.json" in status(home)["problem"]
