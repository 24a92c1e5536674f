"""A site made by hand with every oddity a server can show, and what a crawler has to find there.

Not a test by itself: crawler_test.py is.
"""

import socketserver


def answer(body, kind="text/html", status="200 OK", extra=""):
    body = body if isinstance(body, bytes) else body.encode()
    return f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


def redirect(to):
    return answer("<a href=not-followed>", status="302 Found", extra=f"Location: {to}\r\n")


INDEX = """<!DOCTYPE html><title>odd</title>
<a href="a.html#top">1</a> <A HREF='./sub/../a.html'>same</A> <a href="%7eb%2ehtml?x=1&amp;y=%c3%a9">2</a>
<a href="sub/">3</a> <a href="missing.html">4</a> <a href="#here"> <a href="mailto:x@y"> <a href="http://[::1">
<a href="javascript:f('http://no')"> <a href="http://elsewhere.example/">5</a> <!-- <a href="commented.html"> -->
<a href="https://elsewhere.example/">6</a>
<img src="picture.png" srcset="p1.png 1x, p2.png,p3.png 2x"> <a href=" sp ace.html ">7</a> <a href="back\\slash">8</a>
<a href="moved">9</a> <a href="loop">10</a> <a href="chain/0">11</a> <a href="nowhere">12</a> <a href="away">13</a>
<a href="chunked.html">14</a> <a href="closed.html">15</a> <a href="silent-close.html">16</a>
<a href="continue.html">17</a> <a href="cut.html">18</a> <a href="garbage">19</a> <a href="large.bin">20</a>
<a href="based.html">21</a> <a href="refresh.html">22</a> <a href="gone.html">23</a> <a href="lengths.html">24</a>
<a href="old.html">25</a> <a href="bad-chunk.html">26</a> <script>"<a href='in-script.html'>"</script>
<iframe src="a.html"></iframe> <link rel=stylesheet href="/style.css"> <area href="area.html">"""

PLAIN = answer("<p>plain")
ODD_SITE = {
    "/": answer(INDEX),
    "/style.css": answer("a{}", "text/css"), "/picture.png": answer(b"\x89PNG", "image/png"),
    "/moved": redirect("/target.html"), "/loop": redirect("loop"), "/nowhere": answer("", status="302 Found"),
    "/away": redirect("http://elsewhere.example/away"),
    "/chunked.html": b"HTTP/1.1 200 OK\r\ncontent-type: TEXT/HTML; charset=x\r\nTransfer-Encoding: Chunked\r\n\r\n"
                     b"1a;ext=1\r\n<a href=from-chunked.html>\r\n5\r\nabcde\r\n0\r\nTrailer: x\r\n\r\n",
    "/closed.html": b"HTTP/1.0 200 OK\r\nContent-Type: text/html\r\n\r\n<a href=from-closed.html>",
    "/silent-close.html": answer("<a href=from-silent.html>"),
    "/continue.html": b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: <x>\r\n\r\n" + PLAIN,
    "/cut.html": PLAIN[:-2], "/garbage": b"\xff\"\\\x1b[2J no HTTP\r\n\r\n",
    "/large.bin": b"HTTP/1.1 200 OK\r\nContent-Type: x/y\r\nContent-Length: 999999999999\r\n\r\nbeginning",
    "/based.html": answer('<a href="from-base.html"><base href="/sub/deep/"><base href="/wrong/">'),
    "/refresh.html": answer('<meta http-equiv="Refresh" content="0; URL=\'refreshed.html\'">'),
    "/gone.html": answer("<a href=from-an-error-page.html>", status="410 Gone"),
    "/lengths.html": answer("x", extra="Content-Length: 7\r\n"),
    "/bad-chunk.html": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "/sub/": answer('<a href="../../../a.html">up</a> <a href="../missing.html">'),
    **{path: PLAIN for path in ("/a.html", "/~b.html?x=1&y=%C3%A9", "/sp%20ace.html", "/back%5Cslash", "/target.html",
                                "/from-chunked.html", "/from-closed.html", "/from-silent.html", "/refreshed.html",
                                "/sub/deep/from-base.html", "/area.html", "/old.html")},
    "/p1.png": PLAIN, "/p2.png,p3.png": PLAIN,
    **{f"/chain/{n}": redirect(f"/chain/{n + 1}") for n in range(100)},
}
CLOSING = {"/closed.html", "/silent-close.html", "/large.bin"}
BROKEN_OF_ODD_SITE = {"/missing.html": 404, "/nowhere": 302, "/gone.html": 410, "/chain/20": 302}
FAILED_OF_ODD_SITE = {"/cut.html": "ended within", "/garbage": "not an HTTP/1 response",
                      "/lengths.html": "two different", "/bad-chunk.html": "chunk size"}
CLOSING |= FAILED_OF_ODD_SITE.keys()


class OddHandler(socketserver.StreamRequestHandler):
    def handle(self):
        while request := self.rfile.readline():
            path = request.split()[1].decode()
            while self.rfile.readline().strip():
                pass
            self.wfile.write(ODD_SITE.get(path, answer("<a href=from-404.html>", status="404 Not Found")))
            if path in CLOSING:
                return


class OddServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request, client_address):
        pass  # a client that closes in the middle is part of the site
