"""The image server's page in headless Chromium. Not a test by itself: image_server_test.py is."""

import contextlib
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import tempfile
import unittest

from image_server_case import HOSTILE, LIMIT, LONG, Case, until

NO_BROWSER = [name for name in ("chromium", "chromedriver") if not shutil.which(name)]


class Chromium:
    """Headless, spoken to over the WebDriver protocol (w3.org/TR/webdriver2)."""

    SWITCHES = ("headless", "no-sandbox", "disable-gpu", "disable-dev-shm-usage")  # no sandbox: root has none

    def __init__(self):
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        self.driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                       start_new_session=True)
        self.port = next(int(found.group(1)) for line in self.driver.stdout if (found := re.search(r"on port ([1-9]\d*)", line)))
        switches = [f"--{each}" for each in (*self.SWITCHES, f"user-data-dir={self.profile.name}")]
        wanted = {"browserName": "chrome", "goog:chromeOptions": {"binary": shutil.which("chromium"), "args": switches},
                  "goog:loggingPrefs": {"browser": "ALL"}}
        self.path = "/session"
        self.path += "/" + self.order("", {"capabilities": {"alwaysMatch": wanted}})["sessionId"]

    def order(self, path, body=None, method="POST"):
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=LIMIT)) as connection:
            connection.request(method, self.path + path, json.dumps(body or {}), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            value = json.loads(answer.read())["value"]
        assert answer.status == 200, value
        return value

    def seen(self, script):
        """The value of a JavaScript expression."""
        return self.order("/execute/sync", {"script": "return " + script, "args": []})

    def close(self):
        try:
            self.order("", method="DELETE")
        finally:
            os.killpg(self.driver.pid, signal.SIGKILL)  # the driver and all that it started
            self.driver.stdout.close()
            self.driver.wait()
            with contextlib.suppress(ChildProcessError):  # we are a subreaper
                while os.waitpid(-self.driver.pid, 0):
                    pass
            self.profile.cleanup()


class Browser(Case):
    @unittest.skipIf(NO_BROWSER, f"not installed: {', '.join(NO_BROWSER)}")
    def test_the_page_shows_the_photographs_and_what_the_workers_do(self):
        self.add({"cut.png": HOSTILE["cut.png"][0]})
        server = self.serve("--workers", "2", "--inject-hang", "small.png", "--timeout", LONG, "--grace", "100ms")
        browser = Chromium()
        with contextlib.closing(browser):
            self.look(browser, server)
        with contextlib.suppress(ChildProcessError):  # what the browser had started in sessions of its own
            until(lambda: reaped_all_but(server.process.pid))

    def look(self, browser, server):
        seen = browser.seen
        browser.order("/url", {"url": f"http://127.0.0.1:{server.port}/"})
        rows = "[...document.querySelectorAll('#workers tr')].map(r => [...r.cells].map(c => c.textContent))"
        loaded = "[...document.querySelectorAll('#photos img')].filter(i => i.naturalWidth > 0).map(i => i.alt).sort()"
        until(lambda: seen(loaded) == ["a dir/blue & <b>.png", "red.png"])
        why = until(lambda: seen("document.querySelector('.why')?.textContent"))
        self.assertRegex(why, r"^422: cut\.png: .*png")
        busy = until(lambda: next((r for r in seen(rows) if r[1:3] == ["busy", "small.png"]), None))
        self.assertLessEqual(0, milliseconds(busy[3]))
        self.assertLessEqual(milliseconds(busy[3]), milliseconds(busy[4]))  # it is at least as old as what it does
        os.kill(int(busy[0]), signal.SIGKILL)
        again = until(lambda: next((r for r in seen(rows) if r[2] == "small.png (attempt 2)"), None))
        self.assertNotEqual(again[0], busy[0])
        until(lambda: sorted(r[6] for r in seen(rows)) == ["0", "1"])
        self.assertEqual(seen("document.getElementById('killed').textContent"), "1")
        for width in (360, 1280):
            browser.order("/window/rect", {"width": width, "height": 800})
            self.assertTrue(until(lambda: seen("document.documentElement.scrollWidth <= innerWidth")), width)
        faults = [entry["message"] for entry in browser.order("/se/log", {"type": "browser"}) if entry["level"] == "SEVERE"]
        self.assertEqual([f for f in faults if "422" not in f and "favicon" not in f], [])


def milliseconds(text):
    """What the page says how long something took."""
    amount, unit = re.fullmatch(r"(\d+(?:\.\d)?) (ms|s|min)", text).groups()
    return float(amount) * {"ms": 1, "s": 1000, "min": 60000}[unit]


def reaped_all_but(own):
    """Reaps what has ended; whether `own` is the only child left."""
    children = pathlib.Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    for child in children:
        if int(child) != own:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(int(child), os.WNOHANG)
    return children == [str(own)]
