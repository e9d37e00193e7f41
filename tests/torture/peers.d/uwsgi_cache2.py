"""The load of load.c on uWSGI's cache, in each of its workers.

The environment says PEERS_FOLDER and PEERS_SEED.
"""
import ctypes
import mmap
import os
import random
import select
import signal
import string
import zlib

import uwsgi  # Given by the server.

BATCH, N_VALUES, N_NUMBERS, TEXT_BYTES = 10, 2000, 64, 8192
FOLDER = os.environ["PEERS_FOLDER"]
PR_SET_PDEATHSIG = 1
NAP = select.poll()


def wrong(text):
    with open(f"{FOLDER}/wrong", "a", encoding="utf-8") as file:
        file.write(text + "\n")
    while True:
        NAP.poll(1000)


class Worker:
    """One place of the board, as in load.c."""

    def __init__(self):
        with open(f"{FOLDER}/board", "r+b") as file:
            self.board = memoryview(mmap.mmap(file.fileno(), 0)).cast("Q")
        self.number = uwsgi.worker_id() - 1
        first = 8 * (self.number + 1)
        self.place = self.board[first:first + 8]  # As struct place.
        seed = int(os.environ["PEERS_SEED"])
        random.seed(f"{seed} {self.number} {self.place[1]}")
        self.text = "".join(random.choices(string.ascii_lowercase,
                                           k=TEXT_BYTES)).encode()

    def value(self, key, longest):
        n = random.randint(1, longest)
        start = random.randrange(TEXT_BYTES - n)
        body = self.text[start:start + n]
        name = key.encode()
        return b"%s %08x %s" % (name, zlib.crc32(name + body), body)

    @staticmethod
    def check(key, value):
        name = key.encode()
        n = len(name)
        if not value.startswith(name + b" "):
            wrong(f"corrupt value: {key} has {value[:20]}")
        digits = b"%08x" % zlib.crc32(name + value[n + 10:])
        if value[n + 1:n + 9] != digits:
            wrong(f"corrupt value: the checksum of {key}, {len(value)} "
                  "bytes, is wrong")

    def note(self, is_done):
        if not is_done:
            self.place[2] += 1

    def operate(self):
        kind = random.randrange(100)
        key = f"v{random.randrange(N_VALUES):04}"
        if kind < 30:
            value = uwsgi.cache_get(key, "peers")
            if value is not None:
                self.check(key, value)
        elif kind < 65:
            self.note(uwsgi.cache_update(key, self.value(key, 3000), 0,
                                         "peers"))
        elif kind < 80:
            uwsgi.cache_del(key, "peers")
        elif kind < 90:
            key = f"n{random.randrange(N_NUMBERS):04}"
            self.note(uwsgi.cache_inc(key, 1, 0, "peers"))
        else:  # It has no lists.
            self.note(uwsgi.cache_update("list", self.value("list", 300), 0,
                                         "peers"))

    def audit(self):
        for name in uwsgi.cache_keys("peers"):
            key = name.decode() if isinstance(name, bytes) else name
            if key[:1] == "v" or key == "list":
                self.check(key, uwsgi.cache_get(key, "peers") or b"")
            elif key[:1] != "n":
                wrong(f"corrupt key: {key[:20]}")

    def answer_request(self):
        while self.board[0]:
            request = self.board[0]
            if request != self.place[3]:
                if request % 2 and self.number == 0:
                    self.audit()
                self.place[3] = request
            NAP.poll(1)

    def work(self):
        self.place[3] = 0
        self.place[0] = os.getpid()
        while True:
            self.answer_request()
            for _ in range(BATCH):
                self.operate()
            self.place[1] += BATCH


def run():
    # The end of the parent is that of its workers.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    try:
        Worker().work()
    except Exception as error:  # pylint: disable=broad-except
        wrong(f"{type(error).__name__}: {error}")


def application(_environ, start_response):
    start_response("200 OK", [])
    return [b""]


uwsgi.post_fork_hook = run
