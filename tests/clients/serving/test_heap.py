"""One heap for all threads, and free pages are given back: in processes of their own, for good."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc")


def said(code: str, **environment: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code],
        check=True,
        capture_output=True,
        text=True,
        timeout=120,
        env={"PYTHONPATH": ":".join(sys.path), **environment},
    ).stdout.strip()


HEAPS = """
import ctypes, sys, threading
if sys.argv[1:] or {one}:
    from clients.serving.heap import one_heap
    one_heap()
barrier = threading.Barrier(6)
def work():
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    barrier.wait()
    found.append(libc.malloc(ctypes.c_size_t(70_000)))
    barrier.wait()
found = []
threads = [threading.Thread(target=work) for _ in range(6)]
[one.start() for one in threads]; [one.join() for one in threads]
# heaps of threads lie in stretches of 64 MiB of their own
print(len({{place >> 26 for place in found}}))
"""


def test_threads_share_a_heap() -> None:
    assert int(said(HEAPS.format(one=False))) > 2
    assert int(said(HEAPS.format(one=True))) == 1
    # what is set already counts
    assert int(said(HEAPS.format(one=True), MALLOC_ARENA_MAX="4")) > 2


LEFT = """
import ctypes, threading, time
from pathlib import Path
from clients.serving.heap import Trimmer
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
def anonymous():
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1])
parts = []
for _ in range(300):
    place = libc.malloc(ctypes.c_size_t(65_536))
    ctypes.memset(place, 1, 65_536)
    parts.append(place)
last = libc.malloc(ctypes.c_size_t(65_536))  # above them: free alone gives nothing back
for place in parts:
    libc.free(place)
full = anonymous()
trimmer = Trimmer(every_s=0.01)
for _ in range(1000):
    if full - anonymous() > 15_000:
        break
    time.sleep(0.01)
trimmer.stop()
print(full - anonymous() > 15_000, threading.active_count())
"""


def test_free_pages_are_given_back() -> None:
    assert said(LEFT) == "True 1"
