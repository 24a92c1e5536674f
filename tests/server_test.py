#!/usr/bin/env python3
"""The example server answers, survives what crashes its workers, and ends as it says.

usage: server_test.py SERVER
"""

import os
import select
import signal
import socket
import subprocess
import sys
import time


def connect(port):
    return socket.create_connection(("localhost", port), timeout=20)


def ask(connection, path):
    connection.sendall(f"GET {path} HTTP/1.1\r\n\r\n".encode())


def answer(connection):
    """The whole text; empty when it was closed without one."""
    text = b""
    while more := connection.recv(65536):
        text += more
    return text.decode()


def get(port, path):
    with connect(port) as connection:
        ask(connection, path)
        return answer(connection)


def main():
    if len(sys.argv) != 2:
        print(__doc__)
        return 2
    server = subprocess.Popen([sys.argv[1], "0"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().rsplit(":", 1)[1].strip().rstrip("/"))
        assert get(port, "/21").endswith("\r\n\r\n42\n")
        assert "crashed: signal 6" in get(port, "/0")
        assert get(port, "/4").endswith("8\n")

        idle = connect(port)
        # More than there are workers: when the first answer comes, all have been asked, and some are still being worked on.
        working = [connect(port) for _ in range(2 * len(os.sched_getaffinity(0)) + 1)]
        for connection in working:
            ask(connection, "/50")
        select.select(working, [], [], 20)
        began = time.monotonic()
        server.send_signal(signal.SIGTERM)
        for connection in working:
            assert answer(connection).endswith("100\n"), "a request that was being worked on lost its answer"
        assert answer(idle) == ""
        assert server.wait(timeout=20) == 0
        assert time.monotonic() - began < 5, "it waited for a connection that asks nothing"
    finally:
        server.kill()
        server.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
