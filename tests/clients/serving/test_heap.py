"""One heap for all threads, and free pages are given back: in processes of their own, for good."""

import gc
import subprocess
import sys
import weakref

import pytest

from tests.clients.serving.conftest import Shop, deliver

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
from clients.serving.heap import tidied
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
with tidied(every_s=0.01):
    for _ in range(1000):
        if full - anonymous() > 15_000:
            break
        time.sleep(0.01)
print(full - anonymous() > 15_000, threading.active_count())
"""


def test_free_pages_are_given_back() -> None:
    assert said(LEFT) == "True 1"


KEPT = """
import gc, sys, time
from clients.serving.heap import tidied
def kept():
    # the interpreter keeps the tuples for the next ones
    tuples = [(number, number + 1, number + 2) for number in range(5000)]
    del tuples
    return sys.getallocatedblocks()
before = sys.getallocatedblocks()
after = kept()
with tidied(every_s=0.01):
    frozen = gc.get_freeze_count()
    for _ in range(1000):
        if after - sys.getallocatedblocks() > 1000:
            break
        time.sleep(0.01)
    left = sys.getallocatedblocks()
print(after - before > 1900, after - left > 1000, frozen > 1000, gc.get_freeze_count())
"""


def test_objects_kept_for_use_again_are_freed() -> None:
    assert said(KEPT) == "True True True 0"


def test_a_snapshot_that_is_replaced_goes_at_once(shop: Shop) -> None:
    """Without a search for cycles, for it is not among what is searched."""
    before = weakref.ref(shop.engine.loaded), weakref.ref(shop.engine.loaded.snapshot.catalogue)
    deliver(shop.platform, 4, seed=2)
    gc.collect()
    gc.disable()
    try:
        assert shop.engine.reload().changed
        assert [one() for one in before] == [None, None]
    finally:
        gc.enable()
