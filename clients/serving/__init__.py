"""What a platform gets back: its newest model and its own data, answering its own programs.

    snapshot/   an immutable model on disk: adapted items, the local head, the text tower, an index
    live/       what changes between two snapshots: posted events, new items, consent
    engine.py   the answers themselves: no sockets, no gRPC
    wire/       the protocol: serving.proto and what is generated from it
    service/    gRPC and JSON in front of the engine, and a typed client
    ui/         the platform's own page

`snapshot.build` needs torch; nothing that answers does.  Nothing here is ever sent to the
coordinator.
"""
