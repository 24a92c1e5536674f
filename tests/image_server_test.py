#!/usr/bin/env python3
"""What the image server answers: to browsers, to pictures that are none, to clients that behave badly, and to its end.

usage: image_server_test.py IMAGE_SERVER MEASURE [unittest arguments]

Exit status 77 when chromium, its driver, wrk or mate-backgrounds is missing, after everything else has passed.
"""

import contextlib
import ctypes
import json
import os
import pathlib
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import unittest
import zlib

sys.dont_write_bytecode = True  # not into the sources

import image_server_case
from image_server_case import BOMB, HOSTILE, LIMIT, LONG, Case, InBackground, can_be_strict, noise, size_of, until
from image_server_page import Browser

SERVER = MEASURE = ""
PHOTOGRAPHS = pathlib.Path("/usr/share/backgrounds/mate")
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)


class Thumbs(Case):
    def test_pictures_are_scaled_and_converted(self):
        server = self.serve()
        for query, kind, size in (("", "jpeg", (320, 160)), ("?w=100", "jpeg", (100, 50)), ("?w=33&as=png", "png", (33, 17)),
                                  ("?as=webp&w=2048", "webp", (600, 300)), ("?w=16&x=y&w=40", "jpeg", (40, 20))):
            status, fields, body = server.get("/thumb/red.png" + query)
            self.assertEqual((status, fields["content-type"], size_of(body)), (200, "image/" + kind, size), query)
        self.assertEqual(size_of(server.get("/thumb/a%20dir/blue%20%26%20%3Cb%3E.png?w=30")[2]), (30, 20))
        body = server.get("/thumb/red.png?w=33&as=png")[2]
        length = struct.unpack(">I", body[body.index(b"IDAT") - 4:][:4])[0]
        first = zlib.decompress(body[body.index(b"IDAT") + 4:][:length])[1:4]  # every filter leaves the first pixel as it is
        self.assertEqual(tuple(first), (200, 30, 60))

    def test_a_thumb_is_made_once_and_has_a_name(self):
        server = self.serve()
        _, fields, body = server.get("/thumb/red.png")
        self.assertEqual(server.get("/thumb/red.png")[2], body)
        self.assertEqual((server.metric('image_server_thumbs_total{from="worker"}'),
                          server.metric('image_server_thumbs_total{from="cache"}')), (1, 1))
        status, again, nothing = server.get("/thumb/red.png", **{"If-None-Match": f'"x", {fields["etag"]}'})
        self.assertEqual((status, again["etag"], nothing), (304, fields["etag"], b""))
        self.assertNotEqual(server.get("/thumb/red.png?w=64")[1]["etag"], fields["etag"])
        status, head, nothing = server.get("/thumb/red.png", "HEAD")
        self.assertEqual((status, head["content-length"], nothing), (200, str(len(body)), b""))

    def test_a_cache_without_room_keeps_nothing(self):
        server = self.serve("--cache", "100")
        self.assertEqual(server.get("/thumb/red.png")[2], server.get("/thumb/red.png")[2])
        self.assertEqual((server.metric("image_server_cache_bytes"), server.metric('image_server_thumbs_total{from="worker"}')), (0, 2))

    def test_workers_are_shut_in_and_what_they_do_is_told(self):
        server = self.serve()
        server.get("/thumb/red.png")
        state = server.state()
        self.assertEqual((state["done"], state["failed"]), (1, 0))
        if can_be_strict():
            self.assertLessEqual({"amounts", "no privileges", "files", "system calls"}, set(state["sandbox"]))
        slices = [e for e in json.loads(server.get("/trace")[2])["traceEvents"] if e["ph"] == "X"]
        self.assertIn("red.png", slices[0]["name"])
        self.assertEqual(server.metric('cofork_items_done_total{pool="thumbs"}'), 1)

    def test_hostile_pictures_cost_their_own_request(self):
        self.add({name: data for name, (data, _, _) in HOSTILE.items()})
        server = self.serve("--workers", "1")
        for name, (_, status, reason) in HOSTILE.items():
            got, _, text = server.get("/thumb/" + name)
            self.assertEqual((got, name in text.decode(), reason.lower() in text.decode().lower()), (status, True, True), (name, text))
            self.assertEqual(server.get("/thumb/red.png?w=50")[0], 200)
        self.assertEqual(server.state()["killed"], 0)

    def test_a_picture_that_is_cut_anywhere_is_refused(self):
        self.add({"noise.png": noise(64, 48, seed=1)})
        server, cuts = self.serve(), []
        for kind in ("jpeg", "webp", "png"):
            status, _, whole = server.get(f"/thumb/noise.png?w=64&as={kind}")
            self.assertEqual((status, size_of(whole), len(whole) > 500), (200, (64, 48), True), kind)
            self.add({"whole." + kind: whole})
            end = len(whole) - 1 if whole.endswith(b"\0") else len(whole)  # a WebP may be filled up with a byte
            for at in (1, 4, 12, 20, 30, end // 10, end // 4, end // 2, end * 3 // 4, end * 9 // 10, end - 10, end - 2, end - 1):
                cuts.append(f"cut-{at}.{kind}")
                self.add({cuts[-1]: whole[:at]})
        self.assertEqual(server.end(), 0)
        server = self.serve("--workers", "1")  # another: a server knows the photographs that it found
        for kind in ("jpeg", "webp", "png"):
            self.assertEqual(size_of(server.get("/thumb/whole." + kind)[2]), (64, 48))
        for name in cuts:
            self.refused(server, name)
        self.assertEqual(server.state()["killed"], 0)

    def test_random_bytes_are_refused_whatever_they_call_themselves(self):
        files = {}
        for seed in range(30):
            dice = random.Random(seed)
            for kind, begin in (("jpg", b"\xff\xd8\xff"), ("png", b"\x89PNG\r\n\x1a\n"), ("webp", b"RIFF\xf8\x1f\0\0WEBPVP8")):
                some = dice.randbytes(dice.choice((1, 20, 300, 8000)))
                files |= {f"{seed}.{kind}": some, f"begun-{seed}.{kind}": begin + some}
        self.add(files)
        server = self.serve("--workers", "1")
        for name in files:
            self.refused(server, name)
        self.assertEqual(server.state()["killed"], 0)

    def test_a_bomb_that_is_let_in_meets_the_limit_on_memory(self):
        if not can_be_strict():
            self.skipTest("a build with AddressSanitizer")
        self.add({"bomb.png": BOMB})
        server = self.serve("--max-pixels", "0", "--memory", "256MiB")
        status, _, text = server.get("/thumb/bomb.png")
        self.assertEqual((status, text), (413, b"bomb.png: it takes too much: memory\n"))
        self.assertEqual(server.get("/thumb/red.png")[0], 200)

    def test_a_decoder_that_crashes_or_hangs_costs_its_own_request(self):
        server = self.serve("--inject-crash", "small.png", "--inject-hang", "red.png", "--timeout", "300ms")
        status, _, text = server.get("/thumb/small.png")
        self.assertEqual((status, text), (500, b"small.png: the decoder crashed\n"))
        status, _, text = server.get("/thumb/red.png")
        self.assertEqual((status, text), (504, b"red.png: it takes too long\n"))
        self.assertEqual(server.get("/thumb/a%20dir/blue%20%26%20%3Cb%3E.png")[0], 200)

    def test_a_worker_that_is_killed_is_replaced_and_in_the_end_the_answer_is_503(self):
        server = self.serve("--inject-hang", "red.png", "--timeout", LONG)
        first = InBackground(server, "/thumb/red.png")
        until(server.busy)
        second = InBackground(server, "/thumb/red.png")  # the same thumb: it waits for the first
        until(lambda: server.metric("image_server_connections") == 3)  # the metric's own is one
        for attempt in range(1, 6):
            self.assertEqual(server.get("/healthz")[::2], (200, b"ok\n"))
            os.kill(until(server.busy, attempt)["pid"], signal.SIGKILL)
        for status, fields, text in (first.result(), second.result()):
            self.assertEqual((status, fields["retry-after"]), (503, "1"))
            self.assertEqual(text, b"red.png: the worker was killed, several times\n")
        self.assertEqual(server.metric('image_server_thumbs_total{from="other"}'), 1)
        self.assertEqual((server.state()["killed"], server.state()["retried"]), (5, 4))
        self.assertEqual(server.get("/thumb/small.png")[0], 200)

    def test_more_than_the_queue_holds_is_refused(self):
        server = self.serve("--inject-hang", "red.png", "--timeout", LONG, "--queue", "1", "--grace", "100ms")
        first = InBackground(server, "/thumb/red.png")
        until(server.busy)
        status, fields, text = server.get("/thumb/small.png")
        self.assertEqual((status, fields["retry-after"]), (503, "1"))
        self.assertIn(b"too many requests wait", text)
        self.assertEqual(server.get("/healthz")[0], 200)
        self.assertEqual(server.end(), 0)  # after its grace, without the patience for the first
        self.assertEqual(first.result()[0], 503)


class Http(Case):
    def test_what_is_not_there_or_not_right_is_refused(self):
        server = self.serve()
        for path in ("/thumb/", "/thumb/none.png", "/thumb/../../etc/passwd", "/thumb/%2e%2e/%2e%2e/etc/passwd", "/x",
                     "/thumb/..%2fred.png", "/thumb//red.png", "/thumb/red.png%00", "/thumb/%zz", "/healthz/"):
            self.assertEqual(server.get(path)[0], 404, path)
        for query in ("w=", "w=15", "w=2049", "w=-1", "w=1e3", "w=99999999999999999999", "as=gif", "as=", "w=320 "):
            self.assertEqual(server.get("/thumb/red.png?" + query.replace(" ", "%20"))[0], 400, query)
        status, fields, _ = server.get("/", "POST")
        self.assertEqual((status, fields["allow"]), (405, "GET, HEAD"))
        status, fields, _ = server.get("/nothing", "HEAD")
        self.assertEqual(status, 404)

    def test_requests_that_are_none_or_too_large_are_refused_and_the_connection_closed(self):
        server = self.serve()
        for text, status in ((b"GET / HTTP/1.1\r\n\r\n", 400), (b"\x16\x03\x01\x02\0\x01\0\x01", 400), (b"GET /\r\n\r\n", 505),
                             (b"GET / HTTP/3.0\r\nHost: x\r\n\r\n", 505), (b"FROB / HTTP/1.1\r\nHost: x\r\n\r\n", 400),
                             (b"GET /" + b"x" * 4000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", 414),
                             (b"GET / HTTP/1.1\r\nHost: x\r\n" + b"A: b\r\n" * 9000, 431),
                             (b"GET / HTTP/1.1\r\nX: " + b"x" * 40000, 431),
                             (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 300000, 413),
                             (b"GET / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n" + b"x" * 200000, 413),
                             (b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nx", 400)):
            answer = server.raw(text)
            self.assertRegex(answer, rb"^HTTP/1\.1 %d .*\r\n(.+\r\n)*Connection: close\r\n\r\n" % status, text[:60])
        self.assertEqual(server.get("/healthz")[0], 200)

    def test_one_connection_serves_many_requests_also_when_they_come_at_once(self):
        server = self.serve()
        with contextlib.closing(server.connect()) as connection:
            for _ in range(3):
                for path, status in (("/healthz", 200), ("/none", 404), ("/thumb/red.png", 200)):
                    connection.request("GET", path)
                    answer = connection.getresponse()
                    self.assertEqual((answer.status, len(answer.read()) > 0), (status, True))
            mine = connection.sock.getsockname()
            connection.request("GET", "/healthz")
            self.assertEqual((connection.getresponse().status, connection.sock.getsockname()), (200, mine))
        one = b"GET %s HTTP/1.1\r\nHost: x\r\n\r\n"
        last = b"GET /nothing HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /behind HTTP/1.1\r\n\r\n"
        body = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nGET /"
        answers = server.raw(one % b"/thumb/red.png", one % b"/healthz" + body, last)
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+)", answers), [b"200", b"200", b"405", b"404"])
        self.assertEqual(re.findall(rb"HTTP/1\.1 (\d+)", server.raw(b"GET /healthz HTTP/1.0\r\n\r\n")), [b"200"])

    def test_slow_clients_do_not_stay(self):
        server = self.serve("--slow", "200ms", "--idle", "300ms")
        self.assertEqual(server.raw(), b"")  # says nothing
        self.assertRegex(server.raw(b"GET / HTTP/1.1\r\nHo"), rb"^HTTP/1\.1 408 ")
        self.assertRegex(server.raw(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"), rb"^HTTP/1\.1 200 .*\r\n(.+\r\n)*\r\nok\n$")
        with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as s:  # takes nothing
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            with contextlib.suppress(OSError):
                for _ in range(20000):
                    s.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            until(lambda: server.metric("image_server_connections") == 1)

    def test_more_connections_than_there_may_be_are_told(self):
        server = self.serve("--connections", "2")
        with contextlib.closing(server.connect()) as one, contextlib.closing(server.connect()) as two:
            for each in (one, two):
                each.request("GET", "/healthz")
                self.assertEqual(each.getresponse().read(), b"ok\n")
            self.assertRegex(server.raw(), rb"^HTTP/1\.1 503 .*\r\nRetry-After: 1\r\n")

    def test_a_wrong_command_line_is_refused(self):
        folder = str(self.folder)
        for wrong in ([], ["/nowhere"], [folder, folder], ["--frobnicate", "1", folder], [folder, "--port"],
                      [folder, "--port", "70000"], [folder, "--cache", "1TiB"], [folder, "--timeout", "0"],
                      [folder, "--workers", "0"], [folder, "--address", "here"], [folder, "--max-pixels=0", "--memory=0"]):
            done = subprocess.run([SERVER, *wrong], capture_output=True, timeout=LIMIT)
            self.assertEqual((done.returncode, done.stdout), (2, b""), wrong)
        self.assertEqual(subprocess.run([SERVER, "--help"], capture_output=True, timeout=LIMIT).returncode, 0)
        with tempfile.TemporaryDirectory() as empty:
            done = subprocess.run([SERVER, "--port", "0", empty], capture_output=True, text=True, timeout=LIMIT)
            self.assertEqual((done.returncode, "no photographs" in done.stderr), (1, True))


class End(Case):
    def test_it_answers_what_it_has_begun_and_then_ends(self):
        server = self.serve("--inject-hang", "red.png", "--timeout", "1s")
        with contextlib.closing(server.connect()) as idle:
            idle.request("GET", "/healthz")
            idle.getresponse().read()
            waits = InBackground(server, "/thumb/red.png")
            until(server.busy)
            self.assertEqual(server.end(), 0)
            self.assertEqual((waits.result()[0], waits.result()[1]["connection"]), (504, "close"))
            self.assertEqual(idle.sock.recv(1), b"")

    def test_its_patience_ends(self):
        for options, signals in ((("--grace", "200ms"), [signal.SIGTERM]), (("--grace", LONG), [signal.SIGINT, signal.SIGTERM])):
            server = self.serve("--inject-hang", "red.png", "--timeout", LONG, *options)
            with socket.create_connection(("127.0.0.1", server.port), timeout=LIMIT) as s:
                s.sendall(b"GET /thumb/red.png HTTP/1.1\r\nHost: x\r\n\r\n")
                until(server.busy)
                self.assertEqual(server.end(signals), 0)


class Load(unittest.TestCase):
    @unittest.skipUnless(shutil.which("wrk"), "not installed: wrk")
    @unittest.skipUnless(PHOTOGRAPHS.is_dir(), "not installed: mate-backgrounds")
    def test_clients_do_not_notice_that_workers_are_killed(self):
        # How fast it is is measured where nothing else runs.
        done = subprocess.run([MEASURE, SERVER, PHOTOGRAPHS / "nature", "--seconds", "3", "--connections", "16", "--widths", "320,640",
                               "--any-speed"], capture_output=True, text=True, timeout=2 * LIMIT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


def main():
    global SERVER, MEASURE
    SERVER, MEASURE = map(os.path.abspath, sys.argv[1:3])
    image_server_case.program = SERVER
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    result = unittest.main(argv=[sys.argv[0], *sys.argv[3:]], exit=False).result
    for _, reason in result.skipped:
        print("skipped:", reason)
    return 1 if not result.wasSuccessful() else 77 if result.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
