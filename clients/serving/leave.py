"""Forgets a user whose id comes on stdin: `python -m clients.serving.leave DIR`."""

import json
import sys
from pathlib import Path

from clients.forget import forget
from clients.home import Home
from shared.errors import FedInterestError


def main() -> int:
    """Forget, and print where the receipt lies; the exit code."""
    try:
        home = Home.open(Path(sys.argv[1]))
        receipt = forget(home, sys.stdin.read())
    except FedInterestError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    path = home.folder.receipts / f"{receipt.pseudonym[:32]}.json"
    print(json.dumps({"receipt": str(path), "found": receipt.found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
