"""Everything that a deployment sends, seen from inside a network namespace of its own.

    unshare --user --map-root-user --net python packets.py ROUNDS

The only device of the namespace is loopback, and everything is routed to it: whatever is sent, to
this machine or to the world, passes there and is captured.  A coordinator and three partners are
started as people start them, and train; what was sent is printed as JSON, see `Seen`.
"""

import ctypes
import fcntl
import json
import os
import re
import socket
import struct
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

WORLD = "192.0.2.7"  # TEST-NET-1 (RFC 5737): nobody has it
_LOOK_S = 0.1
_SYN, _ACK = 0x02, 0x10
FILTER = (  # classic BPF over the IP packet: all, but for what follows a TCP connection's beginning
    (0x30, 0, 0, 0),  # the version
    (0x54, 0, 0, 0xF0),
    (0x15, 0, 9, 0x40),  # not IPv4: take it
    (0x30, 0, 0, 16),
    (0x15, 0, 7, 127),  # not to 127.0.0.0/8: take it
    (0x30, 0, 0, 9),
    (0x15, 0, 5, 6),  # not TCP: take it
    (0xB1, 0, 0, 0),
    (0x50, 0, 0, 13),
    (0x54, 0, 0, _SYN | _ACK),
    (0x15, 1, 0, _SYN),
    (0x06, 0, 0, 0),  # leave it
    (0x06, 0, 0, 96),  # take it
)


@dataclass
class Seen:
    """What was sent.

    Args:
        control: destinations of what was sent on purpose, before anything else: must be seen.
        packets: how many were captured after that.
        lost: how many the kernel could not keep for us: must be none.
        outside: destination outside 127.0.0.0/8 -> packets.
        datagrams: UDP destination -> packets.
        opened: port -> connections opened to it.
        listened: port -> program that listened there.
        callers: program -> ports of others that it was seen connected to.
        gateway: the gateway's port.
    """

    control: list[str] = field(default_factory=list)
    packets: int = 0
    lost: int = 0
    outside: Counter[str] = field(default_factory=Counter)
    datagrams: Counter[str] = field(default_factory=Counter)
    opened: Counter[int] = field(default_factory=Counter)
    listened: dict[int, str] = field(default_factory=dict)
    callers: dict[str, set[int]] = field(default_factory=dict)
    gateway: int = 0


def open_loopback() -> None:
    """Bring `lo` up, and route everything to it (netlink: RFC 3549)."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        up = struct.pack("16sH14s", b"lo", 0x1 | 0x40, b"")  # IFF_UP | IFF_RUNNING
        fcntl.ioctl(control, 0x8914, up)  # SIOCSIFFLAGS
    main_table, static, link_scope, unicast, oif = 254, 4, 253, 1, 4
    route = struct.pack(
        "8BI", socket.AF_INET, 0, 0, 0, main_table, static, link_scope, unicast, 0
    ) + struct.pack("HHI", 8, oif, socket.if_nametoindex("lo"))
    create = 0x1 | 0x4 | 0x400  # NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE) as kernel:
        kernel.send(struct.pack("IHHII", 16 + len(route), 24, create, 1, 0) + route)  # RTM_NEWROUTE
        (code,) = struct.unpack("i", kernel.recv(4096)[16:20])
    if code:
        raise OSError(-code, os.strerror(-code))


class Capture:
    """Takes down every packet that is sent on `lo`."""

    def __init__(self) -> None:
        everything = socket.htons(3)  # ETH_P_ALL
        self.wire = socket.socket(socket.AF_PACKET, socket.SOCK_DGRAM, everything)
        code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *one) for one in FILTER))
        program = struct.pack("HxxxxxxP", len(FILTER), ctypes.addressof(code))
        self.wire.setsockopt(socket.SOL_SOCKET, 26, program)  # SO_ATTACH_FILTER
        self.wire.bind(("lo", 3))
        self.wire.settimeout(0.2)
        self.seen = Seen()
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self._listen, daemon=True)

    def control(self) -> None:
        """Try to reach the world by address and by name."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
            one.sendto(b"?", (WORLD, 9))
        with socket.socket() as one:
            one.setblocking(False)
            one.connect_ex((WORLD, 443))
        lookup = subprocess.Popen(
            [sys.executable, "-c", "import socket; socket.getaddrinfo('telemetry.example', 443)"],
            env={**os.environ, "RES_OPTIONS": "timeout:1 attempts:1"},
            stderr=subprocess.DEVNULL,
        )
        while lookup.poll() is None:
            self._take(self.seen.control)
        for _ in range(3):  # what was sent before it gave up
            self._take(self.seen.control)
        self.thread.start()

    def _listen(self) -> None:
        while not self.ended.is_set():
            self._take(None)

    def _take(self, control: list[str] | None) -> None:
        try:
            packet, (_, kind, direction, *_) = self.wire.recvfrom(65535)
        except TimeoutError:
            return
        if direction != 4 or kind != 0x0800:  # PACKET_OUTGOING: each is seen once; IPv4
            if kind == 0x86DD and packet[24:40] != bytes(15) + b"\1" and control is None:
                self.seen.outside[socket.inet_ntop(socket.AF_INET6, packet[24:40])] += 1
            return
        head, protocol = (packet[0] & 15) * 4, packet[9]
        address = socket.inet_ntoa(packet[16:20])
        (port,) = struct.unpack("!H", packet[head + 2 : head + 4])
        if control is not None:
            control.append(f"{address}:{port}")
            return
        self.seen.packets += 1
        if address == WORLD:
            return  # the control's own retransmission
        if not address.startswith("127."):
            self.seen.outside[f"{address}:{port}"] += 1
        if protocol == socket.IPPROTO_UDP:
            self.seen.datagrams[f"{address}:{port}"] += 1
        if protocol == socket.IPPROTO_TCP and packet[head + 13] & (_SYN | _ACK) == _SYN:
            self.seen.opened[port] += 1

    def watch(self) -> None:
        """Who listens where and is connected to whom, over and over."""
        while not self.ended.is_set():
            owners = _owners()
            for inode, (local, remote, state) in _connections().items():
                if (who := owners.get(inode)) is None:
                    continue
                if state == "0A":  # LISTEN
                    self.seen.listened[local] = who
                elif local not in self.seen.listened:
                    self.seen.callers.setdefault(who, set()).add(remote)
            time.sleep(_LOOK_S)


def _connections() -> dict[str, tuple[int, int, str]]:
    """inode -> (local port, remote port, state)."""
    found = {}
    for name in ("tcp", "tcp6"):
        for line in Path(f"/proc/self/net/{name}").read_text().splitlines()[1:]:
            columns = line.split()
            local, remote = (int(columns[place].rsplit(":", 1)[1], 16) for place in (1, 2))
            found[columns[9]] = (local, remote, columns[3])
    return found


def _owners() -> dict[str, str]:
    """inode of a socket -> the program that holds it."""
    found = {}
    for process in Path("/proc").iterdir():
        if not process.name.isdigit():
            continue
        try:
            words = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            for handle in (process / "fd").iterdir():
                if (inode := re.match(r"socket:\[(\d+)]", os.readlink(handle))) is not None:
                    found[inode[1]] = _program(words, process)
        except OSError:
            continue
    return found


def _program(words: str, process: Path) -> str:
    """Whose it is, and what: "bazaar nginx", "coordinator superlink"."""
    where = words + " " + os.readlink(process / "cwd")
    if "nginx: worker" in words:  # it says nothing of its configuration: its parent does
        parent = Path("/proc") / (process / "stat").read_text().rsplit(")", 1)[1].split()[1]
        return _program((parent / "cmdline").read_bytes().replace(b"\0", b" ").decode(), parent)
    kinds = ("nginx", "supernode", "superlink", "executor", "conductor", "worker", "cli")
    whose = re.search(r"\b(coordinator|bazaar|tempo|herald)\b", where)
    kind = next((kind for kind in kinds if kind in words), "other")
    return f"{whose[1] if whose else 'nobody'} {kind}"


def main(rounds: int) -> None:
    from simulations.bench import round as bench

    open_loopback()
    capture = Capture()
    capture.control()
    watcher = threading.Thread(target=capture.watch, daemon=True)
    watcher.start()
    result = bench.run_round_bench(rounds)
    capture.ended.set()
    capture.thread.join()
    watcher.join()
    statistics = capture.wire.getsockopt(263, 6, 8)  # SOL_PACKET, PACKET_STATISTICS
    capture.seen.lost = struct.unpack("II", statistics)[1]
    seen = capture.seen
    gateways = [port for port, who in seen.listened.items() if who == "coordinator nginx"]
    seen.gateway = gateways[0] if len(gateways) == 1 else 0
    found = vars(seen) | {
        "callers": {who: sorted(ports) for who, ports in seen.callers.items()},
        "rounds": result["rounds"],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(int(sys.argv[1]))
