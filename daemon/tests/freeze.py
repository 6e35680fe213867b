#!/usr/bin/env python3
"""Stop one thread of a running process for a while, as daemon/tests/it/freeze.rs does.

    python3 freeze.py PID worker-0 60

Prints "frozen" when the thread stands still. For checks outside cargo, such as under a real systemd.
"""
import ctypes
import os
import pathlib
import sys
import time

PTRACE_DETACH, PTRACE_SEIZE, PTRACE_INTERRUPT = 17, 0x4206, 0x4207
WALL = 0x40000000

libc = ctypes.CDLL(None, use_errno=True)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]


def ptrace(request: int, thread: int) -> None:
    if libc.ptrace(request, thread, None, None) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def main() -> None:
    pid, name, seconds = sys.argv[1], sys.argv[2], float(sys.argv[3])
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    thread = next((int(t.name) for t in tasks if (t / "comm").read_text().strip() == name), None)
    if thread is None:
        sys.exit(f"process {pid} has no thread {name}")
    ptrace(PTRACE_SEIZE, thread)
    ptrace(PTRACE_INTERRUPT, thread)
    os.waitpid(thread, WALL)
    print("frozen", flush=True)
    time.sleep(seconds)
    ptrace(PTRACE_DETACH, thread)


if __name__ == "__main__":
    main()
