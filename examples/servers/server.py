#!/usr/bin/env python3
"""An application server for `zerottl director`, in Python's standard library alone.

    GET /            its own name, and the client's address
    GET /bytes?n=N   N bytes
    GET /sleep?ms=N  an answer after N milliseconds; others are served meanwhile
    GET /hang?ms=N   an answer after N milliseconds, in which the whole server does nothing
    GET /hold        no answer; the connection stays open until the client closes it
    GET /give?to=S   this connection and its request are handed to the server S, if it is the first on the connection

Without a director it listens on 127.0.0.1 at the port of its first argument, else at 8080.
docs/director/contract.md says what holds for servers in any language.
"""

import asyncio
import errno
import ipaddress
import mmap
import os
import signal
import socket
import sys
import time

# How often the loop says that it goes round; `hang_after` is several times that.
ROUND = 0.025
HEAD_MAX = 16 * 1024


def contract():
    """The descriptors by name: listeners, the hand-over socket or None, the page or None."""
    listeners, handover, page = [], None, None
    if os.environ.get("LISTEN_PID") != str(os.getpid()):
        return listeners, handover, page
    names = os.environ.get("LISTEN_FDNAMES", "").split(":")
    for number in range(3, 3 + int(os.environ["LISTEN_FDS"])):
        # Not for programs that this one starts: a listener would stay open with them.
        os.set_inheritable(number, False)
        name = names[number - 3] if number - 3 < len(names) else ""
        if name == "zerottl-page":
            # 16 bytes; through casts, so that each number is written as a whole.
            page = memoryview(mmap.mmap(number, mmap.PAGESIZE))
            os.close(number)
        elif name == "zerottl-handover":
            handover = socket.socket(fileno=number)
        else:
            listeners.append(socket.socket(fileno=number))
    return listeners, handover, page


class Server:
    def __init__(self, listeners, handover, page):
        self.name = os.environ.get("ZEROTTL_SERVER", "by-hand")
        self.listeners, self.handover, self.page = listeners, handover, page
        self.requests = self.connections = 0
        self.tasks = set()
        self.idle, self.stopping = set(), False

    def looped(self):
        self.page[:8].cast("Q")[0] = time.clock_gettime_ns(time.CLOCK_MONOTONIC)

    def count(self, by):
        self.requests += by
        if self.page:
            self.page[8:16].cast("I")[0] = self.requests
            self.page[8:16].cast("I")[1] = 1

    async def serve(self):
        loop = asyncio.get_running_loop()
        for listener in self.listeners:
            listener.setblocking(False)
            loop.add_reader(listener, self.accept, listener)
        if self.handover:
            self.handover.setblocking(False)
            loop.add_reader(self.handover, self.take_handed_over)
        loop.add_signal_handler(signal.SIGTERM, self.stop)
        # Whatever keeps the loop busy keeps this from running.
        while not self.stopping or self.connections > 0:
            if self.page:
                self.looped()
            await asyncio.sleep(ROUND)

    def stop(self):
        """Nothing new is chosen for this process any more. What is in its queues already, it serves; what it has begun, it
        finishes; connections that wait for their next request end."""
        self.stopping = True
        for writer in self.idle:
            writer.close()

    def accept(self, listener):
        try:
            connection, client = listener.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return
        except OSError as error:
            # EINVAL: the director has taken this listener out of use. Others, such as too many open files, may pass.
            loop = asyncio.get_running_loop()
            loop.remove_reader(listener)
            if error.errno != errno.EINVAL:
                loop.call_later(ROUND, loop.add_reader, listener, self.accept, listener)
            return
        self.begin(connection, client[:2], False)

    def take_handed_over(self):
        try:
            message, numbers, _, _ = socket.recv_fds(self.handover, 512, 4)
        except (BlockingIOError, InterruptedError):
            return
        if not message:
            # The director has closed its end.
            asyncio.get_running_loop().remove_reader(self.handover)
            return
        size = {4: 12, 6: 24}.get(message[2]) if message[:2] == b"\x01C" and len(message) > 2 else None
        if size is None or len(message) < size or len(numbers) != 1:
            for number in numbers:
                os.close(number)
            return
        connection = socket.socket(fileno=numbers[0])
        client = (str(ipaddress.ip_address(message[8:size])), int.from_bytes(message[4:6], "big"))
        self.begin(connection, client, True)

    def begin(self, connection, client, was_handed_over):
        connection.setblocking(False)
        task = asyncio.ensure_future(self.connection(connection, client, was_handed_over))
        # The loop keeps no task alive: without this one that waits is collected, and its connection closed.
        self.tasks.add(task)
        task.add_done_callback(self.ended)

    def ended(self, task):
        self.tasks.discard(task)
        # Fetched, so that it is not complained of.
        _ = task.cancelled() or task.exception()

    async def connection(self, connection, client, was_handed_over):
        self.connections += 1
        try:
            if not await self.given(connection):
                reader, writer = await asyncio.open_connection(sock=connection, limit=HEAD_MAX)
                await self.speak(reader, writer, client)
        finally:
            connection.close()
            self.connections -= 1
            if was_handed_over:
                self.handover.send(b"\x01D")

    async def given(self, connection):
        """Hands the connection on if its first request says so. What is only peeked at, the other server reads again."""
        if not self.handover:
            return False
        loop = asyncio.get_running_loop()
        readable = asyncio.Event()
        loop.add_reader(connection, readable.set)
        await readable.wait()
        loop.remove_reader(connection)
        seen = connection.recv(256, socket.MSG_PEEK)
        # A line may come in pieces.
        while seen and b"\n" not in seen and len(seen) < 256:
            await asyncio.sleep(ROUND)
            seen = connection.recv(256, socket.MSG_PEEK)
        words = seen.split(b" ")
        prefix = b"/give?to="
        if len(words) < 2 or not words[1].startswith(prefix):
            return False
        to = words[1][len(prefix):]
        if to.decode() == self.name:
            return False
        socket.send_fds(self.handover, [b"\x01G" + bytes([len(to)]) + to], [connection.fileno()])
        return True

    async def speak(self, reader, writer, client):
        while True:
            try:
                head = await reader.readexactly(1)
                self.idle.discard(writer)
                head += await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
                self.idle.discard(writer)
                writer.close()
                return
            path, _, query = head.split(b" ")[1].decode().partition("?")
            number = int(query.partition("=")[2] or 0) if "=" in query and path != "/give" else 0
            self.count(1)
            try:
                if path == "/hold":
                    # Until the client closes it.
                    while await reader.read(HEAD_MAX):
                        pass
                    writer.close()
                    return
                await self.answer(writer, path, number, client)
            finally:
                self.count(-1)
            if self.stopping:
                writer.close()
                return
            self.idle.add(writer)

    async def answer(self, writer, path, number, client):
        if path == "/bytes":
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % number)
            piece = b"x" * 65536
            while number > 0:
                writer.write(piece[:number])
                number -= len(piece)
                await writer.drain()
            return
        if path == "/sleep":
            await asyncio.sleep(number / 1000)
        elif path == "/hang":
            time.sleep(number / 1000)
        address = f"[{client[0]}]" if ":" in client[0] else client[0]
        text = f"{self.name} {address}:{client[1]}\n".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(text), text))
        await writer.drain()


def main():
    listeners, handover, page = contract()
    if not listeners:
        listeners = [socket.create_server(("127.0.0.1", int(sys.argv[1]) if len(sys.argv) > 1 else 8080))]
    asyncio.run(Server(listeners, handover, page).serve())


if __name__ == "__main__":
    main()
