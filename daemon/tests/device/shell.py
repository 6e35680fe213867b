"""Runs a command in the board's root shell: `shell.py PORT SECONDS COMMAND`, with the longest silence.

Prints the command's output and ends with its status."""

import socket
import sys


def main():
    port, silence, command = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=silence) as shell:
            shell.sendall(f"({command}\n) </dev/null 2>&1; echo; echo $?".encode())
            shell.shutdown(socket.SHUT_WR)
            answer = shell.makefile("rb").read().decode(errors="replace")
    except OSError as error:
        sys.exit(f"shell: {error}")
    output, _, status = answer.rstrip("\n").rpartition("\n")
    output = output.removesuffix("\n")
    if output:
        print(output)
    # A shell that the plug was pulled on has no status.
    sys.exit(int(status) if status.isdigit() else 255)


main()
