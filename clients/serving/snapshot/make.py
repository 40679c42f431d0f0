"""Makes a snapshot, as a program: `python -m clients.serving.snapshot.make`, told what on stdin."""

import json
import sys
from pathlib import Path

from clients.platform import Platform
from clients.serving.snapshot.build import newest
from shared.errors import FedInterestError
from shared.files import write_json


def main() -> int:
    """Make it, and print its id; the exit code."""
    asked = json.loads(sys.stdin.read())
    try:
        found = newest(
            Platform.open(Path(asked["platform"])),
            Path(asked["folder"]),
            own_weight=float(asked["own_weight"]),
        )
        write_json(Path(asked["kept"]), {"stamp": asked["stamp"], "id": found.meta.id})
    except FedInterestError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(found.meta.id)
    return 0


if __name__ == "__main__":
    sys.exit(main())
