"""A session of Python's ovs: `ovs_session.py REMOTE [PROBE-MS [KEY CERT CA]]`.

Answers "add" with the sum and "fail" with an error.  Of the lines on standard
input, `call METHOD PARAMS` sends a request, whose answer is printed, and
`reconnect` does that.  What happens is printed, a line each; the lines of the
reconnect machine too.
"""
import json
import os
import sys

import ovs.jsonrpc
import ovs.poller
import ovs.stream
import ovs.vlog


def say(*words):
    print(*words, flush=True)


def answer(message):
    if message.method == "add":
        return ovs.jsonrpc.Message.create_reply(sum(message.params),
                                                message.id)
    return ovs.jsonrpc.Message.create_error({"no": message.method},
                                            message.id)


def take(session, message):
    kinds = ovs.jsonrpc.Message
    if message.type == kinds.T_REQUEST:
        session.send(answer(message))
    elif message.type == kinds.T_NOTIFY:
        say("notification", message.method, json.dumps(message.params))
    elif message.type == kinds.T_REPLY:
        say("reply", json.dumps(message.result))
    elif message.type == kinds.T_ERROR:
        say("error", json.dumps(message.error))


def obey(session, line):
    command, _, rest = line.partition(" ")
    if command == "call":
        method, _, params = rest.partition(" ")
        session.send(ovs.jsonrpc.Message.create_request(
            method, json.loads(params)))
    elif command == "reconnect":
        session.force_reconnect()


def main(remote, probe_ms="0", *tls):
    ovs.vlog.Vlog.init()
    ovs.vlog.Vlog.set_level("reconnect", "console", "dbg")
    if tls:
        ovs.stream.Stream.ssl_set_private_key_file(tls[0])
        ovs.stream.Stream.ssl_set_certificate_file(tls[1])
        ovs.stream.Stream.ssl_set_ca_cert_file(tls[2])
    session = ovs.jsonrpc.Session.open(remote, probe_interval=int(probe_ms))
    os.set_blocking(0, False)
    was_connected = False
    typed = ""
    while True:
        session.run()
        if session.pstream:
            # Python's ovs leaves a TCP listener in blocking mode.
            session.pstream.socket.setblocking(False)
        message = session.recv()
        if message:
            take(session, message)
        if session.is_connected() != was_connected:
            was_connected = not was_connected
            say("connected" if was_connected else "disconnected")
        try:
            more = os.read(0, 4096)
            if not more:
                return
            typed += more.decode()
            *lines, typed = typed.split("\n")
            for line in lines:
                obey(session, line)
        except BlockingIOError:
            pass
        poller = ovs.poller.Poller()
        if message:
            poller.immediate_wake()
        poller.fd_wait(0, ovs.poller.POLLIN)
        session.wait(poller)
        session.recv_wait(poller)
        poller.block()


if __name__ == "__main__":
    main(*sys.argv[1:])
