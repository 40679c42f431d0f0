"""The processes of the bench: services and loads, their memory, their end."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, Self

from clients.serving.threads import ONE_THREAD
from shared.errors import RunError
from simulations.bench.serving.load import Load, as_text
from simulations.bench.serving.world import World

_PATIENCE_S = 300.0


class Service:
    """A service in a process of its own, until `stop` or `kill`.

    Args:
        what: "ours" or "rival".
        world: what it serves.

    Raises:
        RunError: it ended before it served; its last words are in the message.
    """

    def __init__(self, what: str, world: World) -> None:
        places, output = world.folder / f"{what}.json", world.folder / f"{what}.out"
        places.unlink(missing_ok=True)
        words = ("-m", "simulations.bench.serving.service", what, str(world.folder), str(places))
        began = time.perf_counter()
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, *words],
                env={**ONE_THREAD, **os.environ} if what == "ours" else None,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )
        while not places.exists():
            if self._process.poll() is not None or time.perf_counter() - began > _PATIENCE_S:
                self.kill()
                raise RunError(
                    expected="a service",
                    got=output.read_text(encoding="utf-8", errors="replace").strip()[-500:]
                    or "silence",
                    where=what,
                )
            time.sleep(0.005)
        self.address = str(json.loads(places.read_text(encoding="utf-8"))["grpc"])
        self.ready_s = self._answers(began)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _answers(self, began: float) -> float:
        """Seconds from the start until it took a connection."""
        import grpc

        with grpc.insecure_channel(self.address) as channel:
            grpc.channel_ready_future(channel).result(timeout=_PATIENCE_S)
        return time.perf_counter() - began

    def memory(self) -> dict[str, float]:
        """MiB: {"rss", "pss", "anonymous"}; what is mapped from files is in the first two."""
        text = Path(f"/proc/{self._process.pid}/smaps_rollup").read_text(encoding="ascii")
        lines = [line.split() for line in text.splitlines()[1:]]
        kib = {line[0].rstrip(":").lower(): float(line[1]) for line in lines}
        return {name: round(kib[name] / 1024, 1) for name in ("rss", "pss", "anonymous")}

    def kill(self) -> None:
        """SIGKILL."""
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def stop(self) -> None:
        """SIGTERM, and SIGKILL where that does not do."""
        self._process.terminate()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self.kill()


def start(load: Load) -> "subprocess.Popen[str]":
    """A load in a process of its own; `result` waits for it."""
    child = subprocess.Popen(
        [sys.executable, "-m", "simulations.bench.serving.load"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    pipe = child.stdin
    if pipe is not None:
        pipe.write(as_text(load))
        pipe.close()
        child.stdin = None  # or `communicate` would flush what is closed
    return child


def result(child: "subprocess.Popen[str]") -> dict[str, Any]:
    """What the load measured.

    Raises:
        RunError: it failed; its last words are in the message.
    """
    out, words = child.communicate()
    if child.returncode:
        raise RunError(expected="a load", got=words.strip()[-500:], where="bench serving")
    found: dict[str, Any] = json.loads(out.strip().splitlines()[-1])
    return found
