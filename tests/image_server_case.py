"""What the tests of the image server stand on: pictures made by hand, and a server of their own.

Not a test by itself: image_server_test.py is.
"""

import contextlib
import functools
import http.client
import json
import os
import pathlib
import random
import re
import signal
import socket
import struct
import subprocess
import tempfile
import threading
import time
import unittest
import zlib

program = ""  # the image server: set by who runs the tests
LIMIT = 60  # seconds for whatever is waited for: generous, for sanitizers
LONG = "10min"


# --- pictures

def chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width, height, colour=(200, 30, 60), depth=8):
    """Of one colour; with depth 1 grey, and black."""
    row = b"\0" + (bytes(colour) * width if depth == 8 else bytes((width + 7) // 8))
    packer = zlib.compressobj(1)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    head = struct.pack(">IIBBBBB", width, height, depth, 2 if depth == 8 else 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def noise(width, height, seed):
    """A PNG whose pixels no encoder finds a pattern in: its copies in other formats are long."""
    dice = random.Random(seed)
    data = zlib.compress(b"".join(b"\0" + dice.randbytes(3 * width) for _ in range(height)))
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def size_of(picture):
    """Width and height, as the file itself says."""
    if picture.startswith(b"\x89PNG"):
        return struct.unpack(">II", picture[16:24])
    if picture.startswith(b"\xff\xd8"):
        at = 2
        while picture[at + 1] not in (0xC0, 0xC1, 0xC2):
            at += 2 + struct.unpack(">H", picture[at + 2:at + 4])[0]
        return struct.unpack(">HH", picture[at + 5:at + 9])[::-1]
    if picture[8:16] == b"WEBPVP8 ":
        return struct.unpack("<HH", picture[26:30])
    if picture[8:16] == b"WEBPVP8L":
        bits = struct.unpack("<I", picture[21:25])[0]
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    raise AssertionError(f"no picture: {picture[:20]!r}")


GOOD = {"red.png": png(600, 300), "a dir/blue & <b>.png": png(60, 40, (0, 0, 250)), "small.png": png(20, 20)}
BOMB = png(30000, 30000, depth=1)  # 110 KB
HOSTILE = {
    "bomb.png": (BOMB, 413, "30000x30000 pixels are more than 40000000"),
    "cut.png": (png(600, 300)[:-100], 422, "PNG"), "bitflip.png": (GOOD["red.png"][:60] + b"\0" + GOOD["red.png"][61:], 422, ""),
    "text.png": (b"<html>no picture</html>", 422, "neither a JPEG nor a PNG nor a WebP"), "empty.jpg": (b"", 422, "neither"),
    "random.jpg": (b"\xff\xd8\xff" + zlib.compress(bytes(range(256)) * 40), 422, "JPEG"),
    "random.webp": (b"RIFF\x10\0\0\0WEBP" + zlib.compress(bytes(range(256))), 422, "WebP"),
    "random.png": (b"\x89PNG\r\n\x1a\n" + zlib.compress(bytes(range(256)) * 9), 422, "PNG"),
    "nothing.png": (b"\x89PNG\r\n\x1a\n", 422, "PNG"),
}


# --- the server

def until(what, *arguments):
    """Waits until what(*arguments) is true, and gives it."""
    end = time.monotonic() + LIMIT
    while time.monotonic() < end:
        if result := what(*arguments):
            return result
        time.sleep(0.005)
    raise AssertionError("it does not happen")


class Running:
    def __init__(self, folder, *options):
        self.process = subprocess.Popen([program, "--port", "0", *options, folder], stderr=subprocess.PIPE, text=True)
        self.port = int(re.search(r"http://127\.0\.0\.1:(\d+)/", self.process.stderr.readline()).group(1))

    def connect(self):
        return http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)

    def get(self, path, method="GET", **fields):
        """Status, header fields, body."""
        with contextlib.closing(self.connect()) as connection:
            connection.request(method, path, headers=fields)
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def raw(self, *pieces):
        """All that comes back until the server closes."""
        with socket.create_connection(("127.0.0.1", self.port), timeout=LIMIT) as s:
            for piece in pieces:
                s.sendall(piece)
            return s.makefile("rb").read()

    def state(self):
        return json.loads(self.get("/state")[2])

    def metric(self, name):
        found = re.search(rf"^{re.escape(name)} (\S+)$", self.get("/metrics")[2].decode(), re.M)
        return float(found.group(1)) if found else 0

    def busy(self, attempt=1):
        """The worker that is in its so many-th attempt at a picture."""
        return next((w for w in self.state()["workers"] if w["state"] == "busy" and w["attempt"] == attempt
                     and w["running_ms"] > 0), None)

    def end(self, signals=(signal.SIGTERM,)):
        for each in signals:
            self.process.send_signal(each)
        try:
            return self.process.wait(LIMIT)
        finally:
            self.process.kill()
            self.process.stderr.close()


class InBackground(threading.Thread):
    """A request whose answer is awaited later."""

    def __init__(self, server, path):
        super().__init__(daemon=True)
        self.server, self.path, self.answer = server, path, None
        self.start()

    def run(self):
        self.answer = self.server.get(self.path)

    def result(self):
        self.join(LIMIT)
        return self.answer


class Case(unittest.TestCase):
    def setUp(self):
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = pathlib.Path(folder.name)
        self.add(GOOD)

    def add(self, files):
        for name, data in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_bytes(data)

    def refused(self, server, name, statuses=(413, 422)):
        """Asks for a picture that is none: the answer tells why, and the next request works."""
        status, _, text = server.get("/thumb/" + name)
        self.assertIn(status, statuses, (name, text[:100]))
        self.assertRegex(text, rb"^" + re.escape(name.encode()) + rb": [^\n]{5,}\n$")
        self.assertEqual(server.get("/thumb/small.png")[0], 200)

    def serve(self, *options, folder=None):
        server = Running(folder or self.folder, *options)
        self.addCleanup(self.ends_well, server)
        return server

    def ends_well(self, server):
        if server.process.returncode is None:
            self.assertEqual(server.end(), 0)
        # A subreaper: what the server leaves behind is our child.
        self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)


@functools.cache
def can_be_strict():
    """A build with AddressSanitizer says that it cannot; the others say that there is no such folder."""
    done = subprocess.run([program, "--max-pixels", "0", "/dev/null"], capture_output=True, text=True, timeout=LIMIT)
    return "AddressSanitizer" not in done.stderr
