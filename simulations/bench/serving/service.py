"""Services to measure, as programs: ours, and a plain one that many would write.

    python -m simulations.bench.serving.service ours|rival FOLDER PLACES

Ours is the engine and the service of `fedinterest-client serve`, over a made-up platform.  The
rival answers the same Recommend: the interest by torch in single precision, all items in faiss'
IndexFlatIP, items that the user has already left out.  It has neither popularity nor
co-occurrence, which would only slow it down.
"""

import json
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from clients.serving.service.settings import ServingSettings
from simulations.bench.serving.world import DECAY, HISTORY_LENGTH, World

_THREADS = ServingSettings().threads
_CHUNK = 50_000


def ours(world: World, places: Path) -> int:
    """Serve until SIGTERM; "host:port" is written to `places`."""
    from clients.serving.heap import one_heap

    one_heap()  # as the program does
    from clients.serving.answering import Engine
    from clients.serving.live.store import Live
    from clients.serving.service.serve import Places, serve

    engine = Engine(world.newest, Live(world.folder / "live.db"), world.secret)
    settings = ServingSettings(
        # Only a Reload that is asked for takes up a newer snapshot.
        address="127.0.0.1:0",
        json_address="",
        refresh_s=3600.0,
    )

    def started(found: Places) -> None:
        _say(places, found.grpc)

    return serve(engine, settings, log_path=world.folder / "log.jsonl", started=started)


def rival(world: World, places: Path) -> int:
    """Likewise; until it is killed."""
    import faiss
    import grpc
    import numpy as np
    import torch

    from clients.serving.service.calls import SERVICE
    from clients.serving.wire import serving_pb2 as pb
    from clients.sources.pseudonyms import pseudonym

    snapshot = world.newest()
    count, width = snapshot.items.shape
    index: Any = faiss.IndexFlatIP(width)
    for start in range(0, count, _CHUNK):
        index.add(snapshot.items[start : start + _CHUNK].astype(np.float32))
    # The same memory, so that they are there once.
    held = faiss.rev_swig_ptr(index.get_xb(), count * width).reshape(count, width)
    items = torch.from_numpy(held)
    secret, catalogue = world.secret, snapshot.catalogue
    numbers, sequences = snapshot.number_of, snapshot.sequences

    def recommend(request: Any, context: Any) -> Any:
        known = sequences[numbers[pseudonym(secret, request.user_id)]]
        read = torch.from_numpy(known[-HISTORY_LENGTH:].astype(np.int64))
        weights = DECAY ** torch.arange(len(read) - 1, -1, -1, dtype=torch.float32)
        interest = torch.nn.functional.normalize(weights @ items[read], dim=0)
        k = request.k or 10
        values, rows = index.search(interest.numpy()[None], k + len(known))
        seen = set(known.tolist())
        new = [
            (row, value)
            for row, value in zip(rows[0], values[0], strict=True)
            if int(row) not in seen
        ]
        return pb.RecommendReply(
            items=[
                pb.Recommendation(
                    item=pb.Item(
                        item_id=catalogue.ids[int(row)],
                        title=catalogue.titles[int(row)],
                        category=catalogue.categories[int(row)],
                    ),
                    score=float(value),
                )
                for row, value in new[:k]
            ],
            events=len(read),
        )

    server = grpc.server(ThreadPoolExecutor(_THREADS))
    method = grpc.unary_unary_rpc_method_handler(
        recommend,
        request_deserializer=pb.RecommendRequest.FromString,
        response_serializer=pb.RecommendReply.SerializeToString,
    )
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(SERVICE, {"Recommend": method}),)
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    _say(places, f"127.0.0.1:{port}")
    threading.Event().wait()
    return 0


def _say(places: Path, address: str) -> None:
    making = places.with_suffix(".new")
    making.write_text(json.dumps({"grpc": address}), encoding="utf-8")
    making.replace(places)


def main(words: Sequence[str]) -> int:
    """What the parent starts."""
    what, folder, places = words
    return {"ours": ours, "rival": rival}[what](World(Path(folder)), Path(places))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
