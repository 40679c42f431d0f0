"""Which nodes a SuperLink knows: those of the partners that are enrolled, and no others."""

import json
import logging
import threading
from typing import TYPE_CHECKING

from server.membership.partners import Partners
from server.running.superlink import SuperLink
from server.settings import ServerFolder
from shared.errors import FedInterestError
from shared.files import write_json
from shared.operations.logs import event

if TYPE_CHECKING:
    from server.running.control import Control

NODES = "nodes.json"
_LOOK_S = 1.0
log = logging.getLogger("fedinterest.server.nodes")


class Nodes:
    """Keeps the SuperLink's list of nodes what the list of partners is, on a thread of its own."""

    def __init__(self, folder: ServerFolder, link: SuperLink) -> None:
        self.folder, self.link = folder, link
        self.connected: tuple[str, ...] = ()
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="nodes", daemon=True)
        self._write()

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End."""
        self._end.set()
        self._thread.join(5)

    def _run(self) -> None:
        from server.running.control import Control

        control = Control(self.link, patience_s=0)
        try:
            while not self._end.wait(_LOOK_S):
                try:
                    self._look(control)
                except FedInterestError as error:
                    self._now(())
                    log.debug("%s", error)
        finally:
            control.close()

    def _look(self, control: "Control") -> None:
        keys = {
            one.name: one.node_key_pem
            for one in Partners(self.folder.path).list(enrolled_only=True)
        }
        fresh, gone = control.admit(keys)
        for name in fresh:
            event(log, "admitted", partner=name)
        if gone:
            event(log, "turned out", code=gone)
        self._now(tuple(control.online(keys)))

    def _now(self, connected: tuple[str, ...]) -> None:
        for name in set(connected) ^ set(self.connected):
            event(log, "connected" if name in connected else "disconnected", partner=name)
        if connected != self.connected:
            self.connected = connected
            self._write()

    def _write(self) -> None:
        write_json(self.folder.state / NODES, {"connected": list(self.connected)})


def connected_now(folder: ServerFolder) -> list[str]:
    """The partners that were connected when `Nodes` looked last."""
    try:
        return list(json.loads((folder.state / NODES).read_text(encoding="utf-8"))["connected"])
    except (OSError, ValueError, KeyError, TypeError):
        return []
