#!/usr/bin/env python3
"""What the crawler example finds, compared with what is there.

usage: crawler_test.py CRAWLER [unittest arguments]

Three sites: one made by hand with every oddity a server can show; sqlite3-doc as served by nginx, where wget crawls
independently and the two must agree exactly; sqlite3-doc as served by the crawler itself. Exit status 77 when
nginx, wget or sqlite3-doc is missing, after everything else has passed.
"""

import ctypes
import fcntl
import json
import os
import pathlib
import pty
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import termios
import threading
import unittest

sys.dont_write_bytecode = True  # not into the sources

from crawler_odd_site import BROKEN_OF_ODD_SITE, FAILED_OF_ODD_SITE, ODD_SITE, OddHandler, OddServer

CRAWLER = ""
DOCUMENTS = pathlib.Path("/usr/share/doc/sqlite3")
PR_SET_CHILD_SUBREAPER = 36  # prctl(2)
LIMIT = 120  # seconds for any one program: generous, for sanitizers
PATH = os.environ["PATH"] + ":/usr/sbin"
MISSING = [program for program in ("nginx", "wget") if not shutil.which(program, path=PATH)]
if not (DOCUMENTS / "index.html").exists():
    MISSING.append("sqlite3-doc")


def crawl(*arguments, status=0):
    """Runs the crawler to its end and gives its JSON report, with paths in place of URLs."""
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "report.json"
        done = subprocess.run([CRAWLER, *arguments, "--json", file], capture_output=True, text=True, timeout=LIMIT)
        assert done.returncode == status, f"{arguments}: status {done.returncode}\n{done.stdout}\n{done.stderr}"
        return with_paths(json.loads(file.read_text()))


def with_paths(report):
    if isinstance(report, str):
        return re.sub(r"^http://127\.0\.0\.1:\d+(?=/)", "", report)
    if isinstance(report, list):
        return [with_paths(x) for x in report]
    return {key: with_paths(value) for key, value in report.items()} if isinstance(report, dict) else report


def by_url(entries):
    return {entry["url"]: entry for entry in entries}


def lines_until(stream, pattern):
    """Reads lines until one matches; the limit is that of the whole test."""
    for line in stream:
        if match := re.search(pattern, line):
            return match
    raise AssertionError(f"no line matches {pattern}")


# --- a site made by hand

class ByHand(unittest.TestCase):
    def setUp(self):
        self.server = OddServer(("127.0.0.1", 0), OddHandler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.addCleanup(self.server.server_close)
        self.addCleanup(self.server.shutdown)
        self.url = "http://127.0.0.1:%d/" % self.server.server_address[1]

    def check(self, report):
        broken, failed = by_url(report["broken"]), by_url(report["failed"])
        self.assertEqual({url: b["status"] for url, b in broken.items()}, BROKEN_OF_ODD_SITE)
        self.assertEqual(broken["/missing.html"]["on"], ["/", "/sub/"])
        self.assertEqual(broken["/gone.html"]["on"], ["/"])
        self.assertEqual(set(failed), set(FAILED_OF_ODD_SITE))
        for url, text in FAILED_OF_ODD_SITE.items():
            self.assertIn(text, failed[url]["what"])
            self.assertEqual((failed[url]["kind"], failed[url]["type"]), ("exception", "crawler::http_error"))
        self.assertIn('"\\\x1b[2J', failed["/garbage"]["what"])
        self.assertEqual(set(report["files"]), {"/style.css", "/picture.png", "/large.bin"})
        chain = {f"/chain/{n}" for n in range(20)}
        self.assertEqual(set(report["redirects"]), {"/moved", "/loop", "/away"} | chain)
        known = set(report["files"]) | set(report["redirects"]) | set(broken) | set(failed)
        unreachable = {path for path in ODD_SITE if path.startswith("/chain/")}
        self.assertEqual(set(report["pages"]), set(ODD_SITE) - known - unreachable)
        self.assertEqual((report["outside_links"], report["ending"], report["unfetched"]), (2, "complete", 0))

    def test_every_oddity_is_understood_by_any_number_of_workers(self):
        for workers in ("0", "1", "4"):  # 0: in the crawler's own process
            with self.subTest(workers=workers):
                self.check(crawl(self.url, "--workers", workers))

    def test_the_limit_of_pages_is_exact(self):
        report = crawl(self.url, "--max-pages", "3")
        self.assertEqual((len(report["pages"]), report["ending"]), (3, "page_limit"))
        self.assertGreater(report["unfetched"], 0)

    def test_a_server_that_is_not_there_fails_the_start(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))  # not listening
            report = crawl("127.0.0.1:%d" % taken.getsockname()[1], status=1)
        self.assertIn("connect: ", report["failed"][0]["what"])

    def test_a_wrong_command_line_is_refused(self):
        for wrong in ([], ["ftp://x/"], ["--serve", "/nowhere"], ["--frobnicate"], [self.url, "--pause", "soon"],
                      [self.url, "--workers", "-1"], ["--serve", "/", "--workers", "0"], ["--serve", "/", self.url]):
            done = subprocess.run([CRAWLER, *wrong], capture_output=True, timeout=LIMIT)
            self.assertEqual((done.returncode, done.stdout), (2, b""), wrong)
        self.assertEqual(subprocess.run([CRAWLER, "--help"], capture_output=True, timeout=LIMIT).returncode, 0)

    # It ended as if all were well, and the report was nowhere.
    def test_a_report_that_cannot_be_written_is_an_error(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([CRAWLER, self.url], stdout=full, stderr=subprocess.PIPE, timeout=LIMIT)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot be written", done.stderr)


# --- the embedded server

class EmbeddedServer(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        top = pathlib.Path(self.folder.name)
        (top / "secret").write_text("secret")
        self.root = top / "root"
        (self.root / "sub").mkdir(parents=True)
        (self.root / 'sub/a "<b>&%41.txt').write_text("odd name")
        (self.root / "sub/in.html").symlink_to("../index.html")
        (self.root / "out").symlink_to(top / "secret")
        (self.root / "index.html").write_text("<a href=/sub/>1</a><a href=/out>2</a><a href=x>3</a>")

    def test_a_directory_without_index_is_listed(self):
        (self.root / "index.html").rename(self.root / "sub/index.htm")
        report = crawl("--serve", str(self.root))
        self.assertEqual(report["pages"], ["/", "/sub/", "/sub/index.htm"])
        self.assertEqual(report["files"], ["/sub/a%20%22%3Cb%3E%26%2541.txt"])
        self.assertEqual(set(by_url(report["broken"])), {"/out", "/sub/x", "/sub/in.html"})

    def test_requests_are_answered_and_nothing_outside_is_served(self):
        # The pause keeps the crawl, and with it the server, alive: only one URL is fetched before it.
        with subprocess.Popen([CRAWLER, "--serve", self.root, "--pause", "10min"], text=True, stdin=subprocess.DEVNULL,
                              stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
            try:
                port = int(lines_until(process.stderr, r"127\.0\.0\.1:(\d+)/index.html").group(1))
                self.ask(port)
            finally:
                process.send_signal(signal.SIGTERM)
            self.assertEqual(process.wait(LIMIT), 128 + signal.SIGTERM)

    def ask(self, port):
        with socket.create_connection(("127.0.0.1", port), timeout=LIMIT) as s:
            stream = s.makefile("rwb")

            def get(target, method="GET", extra=""):
                stream.write(f"{method} {target} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode())
                stream.flush()
                status = int(stream.readline().split()[1])
                head = iter(lambda: stream.readline().decode().strip().lower(), "")
                fields = dict(line.split(": ", 1) for line in head)
                body = b"" if method == "HEAD" else stream.read(int(fields["content-length"]))
                return status, fields, body

            index = (self.root / "index.html").read_bytes()
            for target in ("/", "/index.html", "/index.html?q#f", "/sub/../index.html", "/%69ndex.html", "//index.html",
                           "/sub/in.html"):
                self.assertEqual(get(target)[::2], (200, index), target)  # all on one connection
            status, fields, body = get("/index.html", "HEAD")
            self.assertEqual((status, fields["content-type"]), (200, "text/html"))
            self.assertEqual(fields["content-length"], str(len(index)))
            for target in ("/../secret", "/%2e%2e/secret", "/..%2fsecret", "/sub/../../secret", "//etc/passwd",
                           "/etc/passwd", "/out", "/index.html%00", "/index.html/", "/%zz", "secret", "*", "/sub/%41"):
                self.assertEqual(get(target)[0], 404, target)
            status, fields, body = get("//sub")
            self.assertEqual((status, fields["location"]), (301, "/sub/"))
            self.assertEqual(get("/", "POST", "Content-Length: 0\r\n")[0], 405)
            self.assertEqual(stream.read(), b"")  # and closed


# --- sqlite3-doc

class Nginx:
    """nginx in the foreground, on a free port of the loopback interface, with nothing of the system's configuration."""

    CONFIG = """daemon off; master_process off; pid {0}/pid; error_log stderr notice; events {{ }}
        http {{ types {{ text/html html; text/css css; image/gif gif; }}
          log_format visits '$http_user_agent\t$request_uri\t$status\t$sent_http_content_type\t$http_referer';
          access_log {0}/visits visits; client_body_temp_path {0}/b; proxy_temp_path {0}/p; fastcgi_temp_path {0}/f;
          uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;
          server {{ listen 127.0.0.1:{1}; root {2}; autoindex on; }} }}"""

    def __init__(self, root):
        self.folder = tempfile.TemporaryDirectory()
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        config = pathlib.Path(self.folder.name) / "nginx.conf"
        config.write_text(self.CONFIG.format(self.folder.name, self.port, root))
        self.process = subprocess.Popen([shutil.which("nginx", path=PATH), "-p", self.folder.name, "-c", config],
                                        stderr=subprocess.PIPE, text=True)
        lines_until(self.process.stderr, r"event method")  # said after it listens
        self.rest = threading.Thread(target=self.process.stderr.read)
        self.rest.start()

    def visits(self, agent):
        """What `agent` asked for: path -> (status, type, referers). Ends nginx: it logs after it answers."""
        self.process.send_signal(signal.SIGQUIT)
        self.process.wait(LIMIT)
        found = {}
        for line in (pathlib.Path(self.folder.name) / "visits").read_text().splitlines():
            who, uri, status, kind, referer = line.split("\t")
            if who.lower().startswith(agent):
                found.setdefault(uri, (int(status), kind, set()))[2].add(with_paths(referer))
        return found

    def close(self):
        self.process.kill()
        self.rest.join()
        self.process.stderr.close()
        self.process.wait()
        self.folder.cleanup()


@unittest.skipIf(MISSING, f"not installed: {', '.join(MISSING)}")
class Documents(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.own = crawl("--serve", str(DOCUMENTS))

    def test_it_finds_exactly_what_wget_finds_and_serves_what_nginx_serves(self):
        nginx = Nginx(DOCUMENTS)
        self.addCleanup(nginx.close)
        url = f"http://127.0.0.1:{nginx.port}/index.html"
        with tempfile.TemporaryDirectory() as folder:
            wget = ["wget", "--no-config", "--no-proxy", "--spider", "-r", "-linf", "-e", "robots=off", "-P", folder]
            subprocess.run([*wget, url], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=LIMIT)
        ours = crawl(url)
        visits = nginx.visits("wget")

        self.assertEqual(ours["failed"], [])
        pages = {path for path, (status, kind, _) in visits.items() if status == 200 and kind == "text/html"}
        broken = {path for path, (status, _, _) in visits.items() if status >= 400}
        self.assertGreater(len(pages), 700)
        self.assertGreater(len(broken), 100)
        self.assertEqual(set(ours["pages"]), pages)
        self.assertEqual(set(by_url(ours["broken"])), broken)
        self.assertEqual(set(ours["files"]), set(visits) - pages - broken)
        for entry in ours["broken"]:  # wget asks once: for the first page that holds the link
            self.assertLessEqual(visits[entry["url"]][2], set(entry["on"]), entry["url"])

        for part in ("pages", "files", "redirects", "bytes", "links"):
            self.assertEqual(self.own[part], ours[part], part)
        self.assertEqual(by_url(self.own["broken"]), by_url(ours["broken"]))

    def test_a_page_that_breaks_the_parser_costs_that_page_alone(self):
        wrong = {"/c3ref/open.html": ("crash", "crashed", ""), "/lang_expr.html": ("hang", "timeout", ""),
                 "/wal.html": ("bomb", "exception", "std::bad_alloc")}
        with tempfile.TemporaryDirectory() as empty:
            probe = subprocess.run([CRAWLER, "--serve", empty, "--inject-bomb", "-"], capture_output=True)
        if probe.returncode == 2:
            del wrong["/wal.html"]  # a build with AddressSanitizer
        switches = [word for path, (how, *_) in wrong.items() for word in (f"--inject-{how}", path)]
        report = crawl("--serve", str(DOCUMENTS), "--timeout", "5s", *switches)
        failures = {f["url"]: [f["kind"], f["type"]] for f in report["failed"]}
        self.assertEqual(failures, {path: kind_and_type for path, (_, *kind_and_type) in wrong.items()})
        self.assertEqual(set(report["pages"]), set(self.own["pages"]) - set(wrong))
        self.assertEqual(report["files"], self.own["files"])
        # A broken link that only the failed pages hold cannot be found.
        lost = {b["url"] for b in self.own["broken"] if set(b["on"]) <= set(wrong)}
        self.assertEqual(set(by_url(report["broken"])), set(by_url(self.own["broken"])) - lost)


# --- Ctrl-C

class Interrupt(unittest.TestCase):
    def test_it_ends_with_the_report_so_far_and_leaves_nothing(self):
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)  # what the crawler leaves behind becomes our child
        keyboard, terminal = pty.openpty()
        self.addCleanup(os.close, keyboard)
        before = termios.tcgetattr(terminal)
        with tempfile.TemporaryDirectory() as folder:
            for n in range(200):
                (pathlib.Path(folder) / f"{n}.html").write_text("<p>")
            file = pathlib.Path(folder) / "report.json"
            process = subprocess.Popen(
                [CRAWLER, "--serve", folder, "--pause", "50ms", "--json", file], env={**os.environ, "TERM": "xterm"},
                stdin=terminal, stdout=subprocess.PIPE, stderr=terminal, text=True,
                start_new_session=True, preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
            shown = self.read_until(keyboard, rb"crawl +([5-9]|[1-9]\d)\b")
            os.write(keyboard, b"\x03")
            text, _ = process.communicate(timeout=LIMIT)
            self.assertEqual(process.returncode, 130)
            self.assertRaises(ChildProcessError, os.waitpid, -1, os.WNOHANG)  # no child of ours, dead or alive
            report = json.loads(file.read_text())
        self.assertIn("The crawl interrupted", text)
        self.assertEqual((report["ending"], report["failed"]), ("interrupted", []))
        self.assertGreaterEqual(len(report["pages"]), 5)
        self.assertEqual(len(report["pages"]) + report["unfetched"], 201)
        self.assertEqual(termios.tcgetattr(terminal), before)
        os.close(terminal)
        shown += self.read_until(keyboard, None)
        self.assertRegex(shown, rb"\r\x1b\[K$")  # the bar is wiped off

    def read_until(self, descriptor, pattern):
        """What the terminal shows until `pattern`; until its end with None."""
        shown = b""
        while not (pattern and re.search(pattern, shown)):
            self.assertTrue(select.select([descriptor], [], [], LIMIT)[0], shown)
            try:
                shown += os.read(descriptor, 4096)
            except OSError:  # EIO: nobody has the terminal open any more
                self.assertIsNone(pattern, shown)
                break
        return shown


def main():
    global CRAWLER
    CRAWLER = os.path.abspath(sys.argv[1])
    result = unittest.main(argv=[sys.argv[0], *sys.argv[2:]], exit=False).result
    for _, reason in result.skipped:
        print("skipped:", reason)
    return 1 if not result.wasSuccessful() else 77 if result.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
