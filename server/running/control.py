"""Orders to a SuperLink: which nodes it knows, which run it runs."""

from collections.abc import Mapping

import httpx
from flwr.proto.control_pb2 import (
    ListNodesRequest,
    ListRunsRequest,
    RegisterNodeRequest,
    StartRunRequest,
    StopRunRequest,
    UnregisterNodeRequest,
)
from flwr.proto.fab_pb2 import Fab
from flwr.proto.runtime_pb2 import AcquireTaskRequest
from flwr.supercore.constant import TaskType
from flwr.supercore.control import ControlHttpClient
from flwr.supercore.interceptors import (
    RuntimeVersionHttpInterceptor,
    SuperExecAuthHttpInterceptor,
)
from flwr.supercore.protobuf.client import ProtobufCall, ProtobufRequestContext
from flwr.supercore.runtime import RuntimeHttpClient

from server.running.grid import LinkLost, PromptGrid, Retry
from server.running.superlink import OWNER_HEADER, SuperLink
from shared.bundle import bundle

_GONE = "unregistered"
_FINISHED = "finished"


class _Owner:
    """Adds the owner's secret to a request."""

    def __init__(self, secret: str) -> None:
        self._secret = secret

    def intercept(self, context: ProtobufRequestContext, call_next: ProtobufCall) -> httpx.Response:
        """Flower's interface."""
        context.request.headers[OWNER_HEADER] = self._secret
        return call_next(context)


class Control:
    """The owner's way to a SuperLink that is up.

    Every call raises LinkLost where the SuperLink does not answer for `patience_s`.
    """

    def __init__(self, link: SuperLink, *, patience_s: float = 10.0) -> None:
        self._link = link
        self._certificate = link.certificate.read_bytes()
        version = RuntimeVersionHttpInterceptor(component_name="fedinterest")
        retry = Retry(patience_s)
        self._orders = ControlHttpClient.from_server_address(
            link.address,
            False,
            self._certificate,
            [version, _Owner(link.owner_secret)],
            retry_invoker=retry,  # type: ignore[arg-type]
        )
        signed = SuperExecAuthHttpInterceptor(
            master_secret=link.executor_secret.encode(),
            protected_methods={"/flwr.proto.Runtime/AcquireTask"},
        )
        self._tasks = RuntimeHttpClient.from_server_address(
            link.address,
            False,
            self._certificate,
            [version, signed],
            retry_invoker=retry,  # type: ignore[arg-type]
        )

    def close(self) -> None:
        """Close the connections."""
        self._orders.close()
        self._tasks.close()

    def admit(self, keys: Mapping[str, str]) -> tuple[list[str], int]:
        """Let exactly the nodes with these keys take part.

        Args:
            keys: partner -> public key of its node, PEM.

        Returns:
            The partners admitted now, and how many nodes were turned out.
        """
        known = {
            node.public_key: node.node_id
            for node in self._orders.ListNodes(ListNodesRequest()).nodes_info
            if node.status != _GONE
        }
        wanted = {pem.encode(): name for name, pem in keys.items()}
        for key in known.keys() - wanted.keys():
            self._orders.UnregisterNode(UnregisterNodeRequest(node_id=known[key]))
        fresh = [key for key in wanted if key not in known]
        for key in fresh:
            self._orders.RegisterNode(RegisterNodeRequest(public_key=key, name=wanted[key]))
        return [wanted[key] for key in fresh], len(known.keys() - wanted.keys())

    def online(self, keys: Mapping[str, str]) -> list[str]:
        """The partners of `keys` (partner -> PEM) whose node is connected."""
        nodes = self._orders.ListNodes(ListNodesRequest()).nodes_info
        there = {node.public_key for node in nodes if node.status == "online"}
        return [name for name, pem in keys.items() if pem.encode() in there]

    def stop_runs(self) -> int:
        """Stop what is still running of earlier runs; how many there were."""
        runs = self._orders.ListRuns(ListRunsRequest()).run_dict.values()
        live = [run.run_id for run in runs if run.status.status != _FINISHED]
        for run in live:
            self._orders.StopRun(StopRunRequest(run_id=run))
        return len(live)

    def start_run(self) -> int:
        """Start a run of the bundle of this version; its id."""
        return int(self._orders.StartRun(StartRunRequest(fab=Fab(content=bundle()))).run_id)

    def stop_run(self, run: int) -> None:
        """Stop a run."""
        self._orders.StopRun(StopRunRequest(run_id=run))

    def claim(self, run: int) -> PromptGrid:
        """A grid to the nodes, with the right to speak as the ServerApp of `run`.

        Raises:
            LinkLost: somebody else has that right.
        """
        request = AcquireTaskRequest(supported_task_types=[str(TaskType.SERVER_APP)])
        while (answer := self._tasks.AcquireTask(request)).token:
            if answer.task.run_id == run:
                return PromptGrid(self._link.address, self._certificate, answer.token)
        raise LinkLost(
            expected=f"the ServerApp task of run {run}", got="none", where=self._link.address
        )
