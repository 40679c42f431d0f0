"""Every command of the guides in docs/deployment, run as it stands, in one story.

Only the coordinator's address is another one: a free port of this machine.
"""

import re
import shutil
import signal

import pytest

from simulations.worlds import write_demo_world
from tests.scenarios.deployed import PROJECT, Place, place  # noqa: F401  a fixture

DOCS = PROJECT / "docs" / "deployment"

BEGIN = [
    "fedinterest-server init coordinator --address fed.example.org:9443",
    "fedinterest-client init shop --events orders.csv --items products.csv",
    "fedinterest-server enrol shop shop/request.json --dir coordinator",
]
FILMS = [
    "fedinterest-client init films --events plays.jsonl --items tracks.jsonl --user listener "
    "--item track --time ts --time-unit ms",
    "fedinterest-server enrol films films/request.json --dir coordinator",
    "fedinterest-client check films --enrolment films.enrolment.json --no-rehearsal",
]
SERVER_UP, SHOP_UP, FILMS_UP = (
    "fedinterest-server up coordinator",
    "fedinterest-client up shop",
    "fedinterest-client up films",
)
CHECK = [
    "fedinterest-server partners --dir coordinator",
    "fedinterest-client check shop --enrolment shop.enrolment.json",
]
LOOK = [
    "fedinterest-client status shop",
    "fedinterest-client budget shop",
    "fedinterest-server status coordinator",
]
CONTROL = [
    "fedinterest-client pause shop",
    "fedinterest-client resume shop",
    "fedinterest-client forget C102212 --dir shop",
    "fedinterest-server revoke films --dir coordinator",
    "fedinterest-client stop shop",
    "fedinterest-client rotate-keys shop",
]
AUDIT = ["fedinterest audit verify handed-over", "fedinterest audit report handed-over"]
FOUND = 12  # an audit's exit code where something is open: nobody ran `audit code` here

STORY = [*BEGIN, SERVER_UP, *CHECK, SHOP_UP, *LOOK, *CONTROL, *AUDIT]


def test_the_story_has_every_command_of_the_guides() -> None:
    pages = [path.read_text(encoding="utf-8") for path in sorted(DOCS.glob("*.md"))]
    commands = {line for page in pages for line in re.findall(r"^\$ (.+)$", page, re.MULTILINE)}
    assert commands == set(STORY)


@pytest.mark.slow
@pytest.mark.usefixtures("nginx")
def test_the_guides_from_an_empty_folder_to_an_audit(place: Place) -> None:  # noqa: F811
    world, here = place.folder / "world", place.folder
    write_demo_world(world, scale=0.05)
    for path in (
        *(world / "bazaar").glob("*.csv"),
        *(world / "tempo").glob("*.jsonl"),
    ):
        shutil.copy(path, here)
    for command in BEGIN:
        place.call(command)
    toml = here / "coordinator" / "server.toml"
    text = toml.read_text()
    assert "# rounds = 48 " in text
    toml.write_text(text.replace("# rounds = 48 ", "rounds = 2 "))
    # the promise is part of an enrolment: sign again, for two rounds
    place.call(BEGIN[-1])
    coordinator = place.start(SERVER_UP)
    place.until(LOOK[-1], "gateway: ready")
    for command in (*FILMS, *CHECK):
        place.call(command)
    shop, films = place.start(SHOP_UP), place.start(FILMS_UP)
    place.until(LOOK[-1], "round 2 of 2, finished")
    for command in LOOK:
        place.call(command)
    assert "2 of 2 steps in 2 rounds" in place.call(LOOK[1])
    user = (here / "orders.csv").read_text().splitlines()[1].split(",")[1]
    for command in CONTROL:
        said = place.call(command.replace("C102212", user))
    assert "request.json" in said
    assert shop.wait(timeout=10) == 0
    coordinator.send_signal(signal.SIGTERM)
    assert coordinator.wait(timeout=150) == 0
    films.send_signal(signal.SIGTERM)
    assert films.wait(timeout=30) == 0
    handed = here / "handed-over"
    shutil.copytree(here / "coordinator" / "runs" / "0001", handed)
    (handed / "ledger").mkdir()
    for name in ("shop", "films"):
        for part in ("record", "ledger"):
            for path in (here / name / part).glob(f"{name}.jsonl*"):
                shutil.copy(path, handed / part)
    assert "nothing was changed" in place.call(AUDIT[0])
    place.call(AUDIT[1], code=FOUND)
    assert (handed / "audit" / "report.html").is_file()
