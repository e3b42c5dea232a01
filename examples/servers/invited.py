#!/usr/bin/env python3
"""An application server that invites workers of zerottl (docs/site/invitation.md), in Python's standard library alone.

    GET /            counts the requests of a session, whose data the worker keeps
    GET /sleep?ms=N  an answer after N milliseconds

    invited.py --name app-1 --listen 10.0.0.9:9000 --worker http://10.0.0.1:8055 [--worker …] [--credits 4] [--token FILE]

It opens a channel at the first worker that answers, says after each answer that it takes another request, and watches the
worker's beats. When the worker stops, it opens a channel at another and names its sessions, which that worker takes over.
"""

import argparse
import http.client
import http.server
import json
import socketserver
import sys
import threading
import time
import urllib.parse


def say(text):
    now = time.time()
    stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + ".%06dZ" % (now % 1 * 1e6)
    print(stamp, text, flush=True)


class Channel:
    """The server's end of its channel, at one worker after another."""

    def __init__(self, arguments):
        self.name, self.url, self.credits = arguments.name, "http://" + arguments.listen, arguments.credits
        self.workers, self.headers = list(arguments.worker), {"Content-Type": "application/json"}
        if arguments.token:
            self.headers["Authorization"] = "Bearer " + open(arguments.token).read().strip()
        # The worker that has the channel, its path there, and the sessions in the order of their last requests.
        self.worker, self.path, self.sessions = None, None, {}

    def connect(self, worker, timeout):
        return http.client.HTTPConnection(urllib.parse.urlsplit(worker).netloc, timeout=timeout)

    def ask(self, method, path, body=None, headers=None, timeout=30, worker=None):
        """One request to the worker: its status, head and body."""
        connection = self.connect(worker or self.worker, timeout)
        try:
            connection.request(method, path, body, {**self.headers, **(headers or {})})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()
        finally:
            connection.close()

    def signal(self, **what):
        return self.ask("POST", self.path, json.dumps(what))

    def run(self):
        turn = 0
        while True:
            worker = self.workers[turn % len(self.workers)]
            try:
                self.keep(worker)
            except (OSError, http.client.HTTPException, ValueError) as error:
                if self.worker:
                    say(f"stopped worker={worker} why={error!r}")
                else:
                    time.sleep(0.2)
            self.worker = None
            turn += 1

    def keep(self, worker):
        """Keeps a channel at a worker until it stops."""
        connection = self.connect(worker, 5)
        query = urllib.parse.urlencode({"name": self.name, "url": self.url})
        connection.request("POST", "/v1/invite?" + query, "", self.headers)
        lines = connection.getresponse()
        if lines.status != 200:
            raise ValueError(lines.read().decode())
        welcome = json.loads(lines.readline())
        # What comes after this long is too late: the worker has stopped.
        connection.sock.settimeout(welcome["stall_ms"] / 1000)
        self.workers += [other["url"] for other in welcome["workers"] if other["url"] not in self.workers]
        self.path, self.worker = "/v1/invite/" + welcome["channel"], worker
        others = ",".join(other["url"] for other in welcome["workers"])
        say(f"welcome worker={worker} others={others}")
        ended = threading.Event()
        for task in (self.beat, self.take_over):
            threading.Thread(target=task, args=(welcome, ended), daemon=True).start()
        try:
            # Not sooner: what comes is to find the worker known.
            self.signal(ready=self.credits)
            while line := lines.readline():
                event = json.loads(line)
                if event["event"] == "bye":
                    raise ValueError(event["why"])
            raise ValueError("the channel is closed")
        finally:
            ended.set()
            connection.close()

    def beat(self, welcome, ended):
        while not ended.wait(welcome["beat_ms"] / 1000):
            try:
                self.ask("POST", "/v1/invite/" + welcome["channel"], '{"beat": true}', timeout=5)
            except (OSError, http.client.HTTPException, TypeError):
                pass  # Whoever reads the channel sees it, too.

    def take_over(self, welcome, ended):
        """Names the sessions that a worker before this one had."""
        for session in list(self.sessions):
            if ended.is_set():
                return
            try:
                status, _, body = self.signal(session=session)
            except (OSError, http.client.HTTPException, TypeError):
                return
            say(f"named session={session} worker={self.worker} status={status} {body.decode().strip()}")
            if status in (409, 410):
                self.sessions.pop(session, None)

    def answered(self, session):
        if session:
            self.sessions.pop(session, None)
            self.sessions[session] = None
            if len(self.sessions) > 100_000:
                del self.sessions[next(iter(self.sessions))]
        try:
            self.signal(ready=1)
        except (OSError, http.client.HTTPException, TypeError):
            pass  # The next channel begins with all credits.

    def count(self, session):
        """Adds one to the session's data, which is a number; again, if somebody else has changed it meanwhile."""
        path = "/v1/session/" + session
        while True:
            # Between two workers there is none for a moment.
            while not self.worker:
                time.sleep(0.01)
            status, head, body = self.ask("GET", path)
            count = int(body) + 1 if status == 200 else 1
            condition = {"If-Match": head["ETag"]} if status == 200 else {"If-None-Match": "*"}
            status, head, body = self.ask("PUT", path, str(count), condition)
            if status != 412:
                return count if status in (200, 201, 204) else f"{status} {body.decode()}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        channel, session = self.server.channel, self.headers["X-Zerottl-Session"]
        target = urllib.parse.urlsplit(self.path)
        say(f"request target={target.path} session={session} worker={channel.worker}")
        if target.path == "/sleep":
            time.sleep(int(urllib.parse.parse_qs(target.query).get("ms", ["0"])[0]) / 1000)
        try:
            status, count = 200, channel.count(session) if session and target.path == "/" else "-"
        except (OSError, http.client.HTTPException, TypeError) as error:
            # Its worker stopped: whether the data were kept is not known.
            status, count = 503, repr(error)
        body = f"{channel.name} {count}\n".encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()
        channel.answered(session)

    def log_message(self, *_):
        pass


class Server(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True
    request_queue_size = 128


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", required=True)
    parser.add_argument("--listen", required=True, help="HOST:PORT, as workers reach it")
    parser.add_argument("--worker", action="append", required=True, help="http://HOST:PORT")
    parser.add_argument("--credits", type=int, default=4)
    parser.add_argument("--token", help="a file")
    arguments = parser.parse_args()
    host, port = arguments.listen.rsplit(":", 1)
    server = Server((host, int(port)), Handler)
    server.channel = Channel(arguments)
    threading.Thread(target=server.channel.run, daemon=True).start()
    server.serve_forever()


if __name__ == "__main__":
    sys.exit(main())
