"""The bundle has a name, and no code; its bytes are the same everywhere."""

import io
import zipfile

from flwr.common.config import get_fab_config, get_metadata_from_config

from shared.bundle import bundle, bundle_sha256


def test_flower_takes_it_and_finds_no_code_in_it() -> None:
    content = bundle()
    config = get_fab_config(content)
    assert config["tool"]["flwr"]["app"]["components"] == {
        "serverapp": "server.app:app",
        "clientapp": "clients.app:app",
    }
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        assert archive.namelist() == ["pyproject.toml"]


def test_name_and_version_are_those_of_fedinterest() -> None:
    assert get_metadata_from_config(get_fab_config(bundle("1.2.3"))) == (
        "fedinterest/fedinterest",
        "1.2.3",
    )


def test_the_bytes_of_a_version_are_known() -> None:
    """Pinned: a partner's allow-list holds this hash, made on another machine."""
    assert bundle_sha256("0.1.0") == (
        "dbedb029938fabff847837fcdd5bb3199a93c91e73489217946442ae6403d45d"
    )
    assert bundle_sha256("0.1.1") != bundle_sha256("0.1.0")
