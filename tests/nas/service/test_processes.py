import subprocess
import sys
from pathlib import Path

import pytest

THREADS_THAT_ALLOCATE = """
import ctypes, sys, threading
from nas.service.processes import use_one_heap

if sys.argv[2] == "one":
    use_one_heap()
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
ready = threading.Barrier(8)

def allocate():
    ready.wait()
    libc.malloc(1000)
    ready.wait()  # a heap is passed on when its thread ends

threads = [threading.Thread(target=allocate) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file)
libc.fclose(file)
"""


def num_heaps(folder: Path, which: str) -> int:
    """By glibc's own account, after eight threads have allocated."""
    account = folder / which
    subprocess.run([sys.executable, "-c", THREADS_THAT_ALLOCATE, str(account), which], check=True)
    return account.read_text().count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="glibc only")
def test_threads_share_one_heap(tmp_path: Path) -> None:
    assert num_heaps(tmp_path, "one") == 1
    assert num_heaps(tmp_path, "many") > 1
