"""Asks what standard input says, one JSON object a line, and says how dnspython reads each answer. It refuses bytes
behind a message, counts that are not those of the records, and answers to other questions."""

import json
import socket
import struct
import sys

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import dns.rdataclass
import dns.rdatatype

PATIENCE = 5  # seconds


def query(case):
    options = []
    if case["options"]:
        options = [
            dns.edns.GenericOption(dns.edns.NSID, b""),
            dns.edns.GenericOption(dns.edns.COOKIE, bytes(range(1, 9))),
            dns.edns.ECSOption("198.51.100.0", 24),
        ]
    message = dns.message.make_query(case["name"], case["type"])
    message.flags &= ~dns.flags.RD
    if case["edns"]:
        message.use_edns(0, dns.flags.DO if case["options"] else 0, 1232, options=options)
    return message


def exactly(stream, length):
    data = b""
    while len(data) < length:
        piece = stream.recv(length - len(data))
        if not piece:
            raise EOFError("the server closed")
        data += piece
    return data


def over_tcp(wire, server):
    with socket.create_connection((server, 53), PATIENCE) as stream:
        stream.sendall(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", exactly(stream, 2))
        return exactly(stream, length)


def over_udp(wire, server):
    family = socket.AF_INET6 if ":" in server else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM) as datagrams:
        datagrams.settimeout(PATIENCE)
        datagrams.connect((server, 53))
        datagrams.send(wire)
        return datagrams.recv(65535)


def option(option):
    if option.otype == dns.edns.NSID:
        return "nsid " + option.data.decode()
    if option.otype == dns.edns.COOKIE:
        return f"cookie {option.data[:8].hex()}+{len(option.data) - 8}"
    if option.otype == dns.edns.ECS:
        return f"ecs {option.address}/{option.srclen}/{option.scopelen}"
    return f"option {option.otype}"


def read(case):
    asked = query(case)
    wire = asked.to_wire()
    transport, server = case["transport"], case["server"]
    answer = over_tcp(wire, server) if transport == "tcp" else over_udp(wire, server)
    message = dns.message.from_wire(answer, ignore_trailing=False)
    if transport == "fallback" and message.flags & dns.flags.TC:
        answer = over_tcp(wire, server)
        message = dns.message.from_wire(answer, ignore_trailing=False)
    if not asked.is_response(message):
        raise ValueError("the answer to another question")
    records = []
    sections = [("answer", message.answer), ("authority", message.authority), ("additional", message.additional)]
    for section, sets in sections:
        for one in sets:
            kind, net = dns.rdatatype.to_text(one.rdtype), dns.rdataclass.to_text(one.rdclass)
            records.extend(f"{section} {one.name} {one.ttl} {net} {kind} {data.to_text()}" for data in one)
    edns = None
    if message.edns >= 0:
        flags = "do" if message.ednsflags & dns.flags.DO else ""
        edns = f"{message.edns} [{flags}] {message.payload}"
    return {
        "rcode": dns.rcode.to_text(message.rcode()),
        "flags": dns.flags.to_text(message.flags).lower(),
        "counts": list(struct.unpack("!4H", answer[4:12])),
        "records": records,
        "edns": edns,
        "options": [option(one) for one in message.options],
    }


for line in sys.stdin:
    try:
        print(json.dumps(read(json.loads(line))))
    except Exception as fault:  # whatever is wrong with an answer is the reading
        print(json.dumps({"fault": f"{type(fault).__name__}: {fault}"}))
