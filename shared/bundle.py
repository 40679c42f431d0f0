"""The Flower app bundle a run is submitted with: a name and a version, and no code.

Flower sends a bundle's code to every node and runs it there.  Ours carries a pyproject.toml only:
both sides run what they have installed, and a partner's allow-list knows the bundle by its hash.
It declares no settings either, so Flower lets none be sent along with a run.
Guarantee: one version of fedinterest makes the same bytes on every machine (no clock, no
compression library, no file mode, no order of a dictionary goes into them).
"""

import io
import zipfile
from importlib.metadata import version

from shared.files import sha256

PUBLISHER, NAME = "fedinterest", "fedinterest"
_FILE = "pyproject.toml"
_DATE = (2024, 1, 1, 0, 0, 0)
_TEXT = """\
[project]
name = "{name}"
version = "{version}"

[tool.flwr.app]
publisher = "{publisher}"

[tool.flwr.app.components]
serverapp = "server.app:app"
clientapp = "clients.app:app"
"""


def bundle(of_version: str | None = None) -> bytes:
    """The bundle of a version of fedinterest, by default of the installed one."""
    text = _TEXT.format(
        name=NAME, publisher=PUBLISHER, version=of_version or version("fedinterest")
    )
    member = zipfile.ZipInfo(_FILE, _DATE)
    member.create_system = 3  # the same on every system
    member.external_attr = 0o644 << 16
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_STORED) as archive:
        archive.writestr(member, text)
    return content.getvalue()


def bundle_sha256(of_version: str | None = None) -> str:
    """Hex SHA-256 of `bundle`: what Flower and a partner's allow-list know it by."""
    return sha256(bundle(of_version))
