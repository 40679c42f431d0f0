"""A platform that no round has been delivered to yet: nothing is said to have changed."""

from collections.abc import Callable
from pathlib import Path

from clients.platform import Platform
from clients.serving.snapshot.build import newest
from clients.serving.start import Served
from shared.files import write_json
from tests.clients.serving.ui.conftest import FEDERATION, Site, made_folder
from tests.clients.serving.ui.test_http import main_of


def test_the_frozen_model_is_not_compared_with_itself(
    serve: Callable[[Path], Site], tmp_path: Path
) -> None:
    folder = made_folder(tmp_path)
    for path in folder.glob("*.safetensors"):
        path.unlink()
    write_json(tmp_path / "federation.json", FEDERATION)
    served = Served.at(folder)
    made = newest(Platform.open(folder), served.serving / "snapshots", parts=served.parts)
    assert made.meta.round == 0
    write_json(served.serving / "newest.json", {"stamp": served._stamp(), "id": made.meta.id})
    site = serve(folder)
    page = main_of(site.ask()[2])
    assert "No round has been delivered yet" in page
    assert "What changed since" not in page
    assert "no clear change" not in page
    assert "frozen, as served now" in page
    assert "No round has been delivered yet" in main_of(site.ask("fairness")[2])
