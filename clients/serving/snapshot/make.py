"""Makes a snapshot, as a program: `python -m clients.serving.snapshot.make`, told what on stdin.

Where texts cannot be read (no package, an encoder that cannot be exported), the snapshot is made
all the same, and why is written beside its id.
"""

import json
import sys
from pathlib import Path

from clients.platform import Platform
from clients.serving.snapshot.build import newest
from clients.serving.snapshot.texts import read_texts
from shared.config.training import Interpolation
from shared.errors import FedInterestError
from shared.files import write_json


def main() -> int:
    """Make it, and print its id; the exit code."""
    asked = json.loads(sys.stdin.read())
    try:
        platform = Platform.open(Path(asked["platform"]))
        found = newest(platform, Path(asked["folder"]), parts=Interpolation(**asked["parts"]))
        trouble = ""
        try:
            read_texts(platform, found, Path(asked["encoders"]))
        except FedInterestError as error:
            trouble = str(error)
        kept = {"stamp": asked["stamp"], "id": found.meta.id, "no_texts": trouble}
        write_json(Path(asked["kept"]), kept)
    except FedInterestError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(found.meta.id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
