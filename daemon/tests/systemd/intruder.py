"""Tries from within the unit what someone who took the daemon over would try, and says what it could."""

import ctypes
import mmap
import os
import shutil
import socket
import subprocess
import sys
import time


def attempt(what, action):
    try:
        action()
        print(f"could {what}")
    except (OSError, PermissionError) as error:
        print(f"refused: {what}: {error.strerror}")


def call(name, *arguments):
    libc = ctypes.CDLL(None, use_errno=True)
    if getattr(libc, name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


def write(path):
    with open(path, "w", encoding="ascii") as file:
        file.write("x")


def writable_code():
    mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)


def read(path):
    with open(path, "rb") as file:
        file.read(1)


def run(program):
    subprocess.run([program], check=True, stdout=subprocess.DEVNULL)


def run_copy(folder):
    shutil.copy("/usr/bin/true", f"{folder}/copied")
    try:
        run(f"{folder}/copied")
    finally:
        os.remove(f"{folder}/copied")


def listen(port):
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("0.0.0.0", port))


for path in ("/usr/x", "/etc/picket/x", "/etc/x", "/var/lib/x", "/run/x", "/boot/x", "/dev/shm/../x"):
    attempt(f"write {path}", lambda path=path: write(path))
attempt("read a home", lambda: os.listdir("/root"))
attempt("read the shadow file", lambda: read("/etc/shadow"))
attempt("change kernel settings", lambda: write("/proc/sys/kernel/sysrq"))
attempt("see other processes", lambda: read("/proc/1/cmdline"))
attempt("open a disk", lambda: os.mknod("/tmp/disk", 0o60600, os.makedev(8, 0)))
attempt("read the kernel's log", lambda: call("klogctl", 3, ctypes.create_string_buffer(16), 16))
attempt("set the clock", lambda: time.clock_settime(time.CLOCK_REALTIME, time.time()))
attempt("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, None))
attempt("make a user namespace", lambda: call("unshare", 0x10000000))
attempt("trace a process", lambda: call("ptrace", 0x4206, os.getppid(), None, None))
attempt("write code and run it", writable_code)
attempt("open a raw socket", lambda: socket.socket(socket.AF_INET, socket.SOCK_RAW, 1))
attempt("open a netlink socket", lambda: socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0))
attempt("take realtime priority", lambda: os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1)))
attempt("become root", lambda: os.setuid(0))
attempt("set a file's owner bit", lambda: (write("/tmp/suid"), os.chmod("/tmp/suid", 0o4700)))
attempt("run a shell", lambda: run("/bin/sh"))
attempt("run what it wrote to its state", lambda: run_copy(os.environ["STATE_DIRECTORY"]))
attempt("run what it wrote to /tmp", lambda: run_copy("/tmp"))
if sys.argv[1] == "binding-is-bound":
    attempt("listen on another port", lambda: listen(9999))
attempt("reboot", lambda: call("reboot", 0))

state = os.environ["STATE_DIRECTORY"]
write(f"{state}/mark")
os.remove(f"{state}/mark")
write("/tmp/mark")
listen(8000)
print(f"allowed: {state}, a /tmp of its own, port 8000")
print("finished")
sys.stdout.flush()
