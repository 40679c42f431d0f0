"""Pages of benches: self-contained, in the style of the run report.

Nothing is fetched and nothing is run: a page has no script, and its Content-Security-Policy allows
its one style sheet, by hash, and nothing else.
"""

import base64
import hashlib
from importlib import resources
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from simulations.report import words

_SHEETS = (("simulations.report", "style.css"), ("simulations.bench.quality", "quality.css"))


def rendered(package: str, template: str, *, title: str, **values: Any) -> str:
    """A page as a string.

    Args:
        package: whose `templates` hold the template.
        title: of the page, after our name.
        values: what the template is filled with; unknown names in it are an error.
    """
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("simulations.bench")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style = "\n".join(
        resources.files(owner).joinpath("templates", name).read_text("utf-8")
        for owner, name in _SHEETS
    )
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return environment.get_template(template).render(
        title=title,
        style=Markup(style),  # our own files
        style_hash=f"sha256-{digest}",
        words=words,
        **values,
    )
