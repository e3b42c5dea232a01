#!/usr/bin/env python3
"""A shop that keeps its carts in the Site's sessions, in Python's standard library alone.

    GET  /        who is logged in, and the cart
    POST /login   name=NAME
    POST /add     item=ITEM
    POST /logout  ends the session for good

It runs behind `zerottl site` with session servers (docs/site/sessions.md): each request says by X-Zerottl-Session which session it
belongs to, and the session's data is kept by GET, PUT and DELETE at `web.admin`. Arguments: the port of 127.0.0.1 to listen on,
and the URL of `web.admin`.
"""

import html
import json
import sys
import urllib.error
import urllib.parse
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>The shop</title>
<style>body{font:16px sans-serif;max-width:34em;margin:2em auto}li{margin:.3em 0}form{display:inline}</style>
<h1>The shop</h1>%s</html>
"""


def load(session):
    """Returns the session's data and the tag of that state; none of both if it has none."""
    try:
        with urllib.request.urlopen(f"{ADMIN}/v1/session/{session}", timeout=10) as answer:
            return json.load(answer), answer.headers["ETag"]
    except urllib.error.HTTPError as error:
        if error.code == 404:
            return {}, None
        raise


def change(session, step):
    """Changes the session's data by `step`; again if another request was faster."""
    while True:
        data, tag = load(session)
        step(data)
        condition = {"If-Match": tag} if tag else {"If-None-Match": "*"}
        body = json.dumps(data).encode()
        request = urllib.request.Request(f"{ADMIN}/v1/session/{session}", body, condition, method="PUT")
        try:
            urllib.request.urlopen(request, timeout=10).close()
            return
        except urllib.error.HTTPError as error:
            if error.code != 412:
                raise


def cart(data):
    name = data.get("name")
    if not name:
        return '<form method="post" action="/login"><input name="name" required> <button>Log in</button></form>'
    items = "".join(f"<li>{html.escape(item)}</li>" for item in data.get("items", []))
    return (
        f'<p id="name">Hello, {html.escape(name)}. Your cart:</p><ol id="cart">{items}</ol>'
        '<form method="post" action="/add"><input name="item" required> <button>Add</button></form> '
        '<form method="post" action="/logout"><button>Log out</button></form>'
    )


class Shop(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body, fields=()):
        data = (PAGE % body).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "text/html; charset=utf-8"), ("Content-Length", str(len(data))), *fields):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def handled(self, work):
        session = self.headers["X-Zerottl-Session"]
        try:
            work(session)
        except urllib.error.HTTPError as error:
            if error.code == 410:
                # Its browser has the cookie still; a new session begins without it.
                return self.answer(403, "<p id=\"gone\">You have logged out.</p>")
            self.answer(503, f"<p>The session cannot be had: {html.escape(error.read().decode())}</p>")
        except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
            self.answer(503, f"<p>The session cannot be had: {html.escape(str(error))}</p>")

    def do_GET(self):
        if self.path == "/health":
            return self.answer(200, "well")
        self.handled(lambda session: self.answer(200, cart(load(session)[0])))

    def do_POST(self):
        length = min(int(self.headers["Content-Length"] or 0), 4096)
        form = urllib.parse.parse_qs(self.rfile.read(length).decode())
        value = form.get("name", form.get("item", [""]))[0]

        def work(session):
            if self.path == "/login":
                change(session, lambda data: data.update(name=value, items=[]))
            elif self.path == "/add":
                change(session, lambda data: data.setdefault("items", []).append(value))
            elif self.path == "/logout":
                request = urllib.request.Request(f"{ADMIN}/v1/session/{session}", method="DELETE")
                urllib.request.urlopen(request, timeout=10).close()
            self.answer(303, "", [("Location", "/")])

        self.handled(work)

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    ADMIN = sys.argv[2] if len(sys.argv) > 2 else "http://127.0.0.1:8054"
    ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 9090), Shop).serve_forever()
