"""A process that has imported everything and forks one `fedinterest` for every line it reads.

Starting Python with torch takes seconds, a tiny run takes one: this way a test can kill ten real
processes.  Requests and answers are JSON lines; see `Warm` in conftest.py.
"""

import json
import os
import runpy
import signal
import sys
import traceback
from pathlib import Path
from typing import Any, NoReturn

# Imported, not used: no thread has been started when the fork comes.
import simulations.cli
import simulations.commands
import simulations.engines.inprocess
import simulations.report
import simulations.run
import simulations.table


def die_at(count: int) -> None:
    """SIGKILL to this process just before its `count`th rename or fsync."""
    left = [count]

    def counted(call: Any) -> Any:
        def instead(*arguments: Any, **named: Any) -> Any:
            left[0] -= 1
            if left[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **named)

        return instead

    os.fsync, os.replace = counted(os.fsync), counted(os.replace)


def account(rounds: int, platforms: list[str]) -> None:
    """What the promises of `tiny_world`'s platforms cost: with that known, a run takes a third."""
    from clients.platform_record import promise
    from shared.config.privacy import PrivacySettings
    from shared.privacy.accountant import Charge, checked_epsilon

    users = runpy.run_path(str(Path(__file__).with_name("tiny_world.py")))["USERS"]
    privacy = PrivacySettings(steps_per_round=2)
    for name in platforms:
        delta, noise = promise(privacy, users[name], rounds)
        checked_epsilon([Charge(privacy.sample_rate, noise, 2 * rounds)], delta)


def child(request: dict[str, Any]) -> NoReturn:
    """Be `fedinterest`."""
    code = 1
    try:
        os.chdir(request["cwd"])
        for name, stream in (("stdout", 1), ("stderr", 2)):
            descriptor = os.open(request[name], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
            os.dup2(descriptor, stream)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        os.environ.update(request["environment"])
        if request["die_at"]:
            die_at(request["die_at"])
        signal.signal(signal.SIGINT, signal.default_int_handler)
        sys.argv = ["fedinterest", *request["arguments"]]
        simulations.cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - a bug: its trace is the test's message
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            _, status = os.waitpid(request["wait"], 0)
            answer = os.waitstatus_to_exitcode(status)
        elif "account" in request:
            account(**request["account"])
            answer = 0
        else:
            Path(request["stdout"]).parent.mkdir(parents=True, exist_ok=True)
            answer = os.fork()
            if answer == 0:
                child(request)
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    main()
