#!/usr/bin/env python3
"""Stops one thread of a process, as a deadlock or a system call that never returns would.

    freeze.py PID THREAD SECONDS

The thread is found by its name (/proc/PID/task/*/comm) and held in a ptrace stop while the others run
on, for that long or until the process is gone. Prints one line once it is held.
"""

import ctypes
import os
import sys
import time
from pathlib import Path

# <sys/ptrace.h>, <sys/wait.h>
PTRACE_SEIZE = 0x4206
PTRACE_INTERRUPT = 0x4207
WALL = 0x40000000


def ptrace(request: int, tid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    libc.ptrace.restype = ctypes.c_long
    if libc.ptrace(request, tid, None, None) == -1:
        sys.exit(f"freeze: ptrace: {os.strerror(ctypes.get_errno())}")


def find(pid: int, name: str) -> int:
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            return int(task.name)
    sys.exit(f"freeze: process {pid} has no thread {name}")


def main() -> None:
    pid, name, seconds = int(sys.argv[1]), sys.argv[2], float(sys.argv[3])
    tid = find(pid, name)
    ptrace(PTRACE_SEIZE, tid)
    ptrace(PTRACE_INTERRUPT, tid)
    os.waitpid(tid, WALL)
    print(f"frozen {name} {tid}", flush=True)
    end = time.monotonic() + seconds
    while time.monotonic() < end and os.path.exists(f"/proc/{pid}"):
        # A killed process stays a zombie until whoever traces it has seen its end.
        if os.waitpid(tid, WALL | os.WNOHANG)[0] and not os.path.exists(f"/proc/{pid}/task/{tid}"):
            break
        time.sleep(0.05)


if __name__ == "__main__":
    try:
        main()
    except ChildProcessError:
        pass
