"""The load of dict.c on uWSGI's cache, in each of its workers.

The environment says BENCH_FOLDER, BENCH_N and BENCH_MS.
"""
import json
import os
import random
import statistics
import time

import uwsgi  # Given by the server.

N_KEYS, SLICE = 100000, 500
FOLDER = os.environ["BENCH_FOLDER"]
# In no order, but each at hand when its turn comes.
NUMBERS = random.Random(12345).sample(range(N_KEYS), N_KEYS)
KEYS = [f"key-{i:012d}" for i in NUMBERS]
MISSES = [f"not-{i:012d}" for i in NUMBERS]
VALUE = b"v" * 64


def measure(operation, keys, ms):
    took = []
    now = time.perf_counter_ns()
    begin = now + ms * 200000
    end = begin + ms * 1000000
    at = 0
    while now < end or len(took) < 5:
        chosen = keys[at:at + SLICE]
        at = (at + SLICE) % N_KEYS
        before = time.perf_counter_ns()
        for key in chosen:
            operation(key)
        now = time.perf_counter_ns()
        if before >= begin:
            took.append((now - before) / SLICE)
    return statistics.median(took)


def meet(name):
    open(f"{FOLDER}/{name}{uwsgi.worker_id()}", "w").close()
    while not all(os.path.exists(f"{FOLDER}/{name}{i + 1}")
                  for i in range(int(os.environ["BENCH_N"]))):
        pass


def fill(store):
    if uwsgi.worker_id() == 1:
        for key in sorted(KEYS):
            store(key)


def run():
    ms = int(os.environ["BENCH_MS"])
    fill(lambda key: uwsgi.cache_set(key, VALUE, 0, "bytes"))
    result = {}
    for name, operation, keys in (
            ("get", lambda key: uwsgi.cache_get(key, "bytes"), KEYS),
            ("miss", lambda key: uwsgi.cache_get(key, "bytes"), MISSES),
            ("set", lambda key: uwsgi.cache_update(key, VALUE, 0, "bytes"),
             KEYS),
            ("incr", lambda key: uwsgi.cache_inc(key, 1, 0, "numbers"),
             KEYS)):
        meet(name)
        result[name] = measure(operation, keys, ms)
    path = f"{FOLDER}/result{uwsgi.worker_id() - 1}"
    with open(f"{path}.new", "w", encoding="ascii") as file:
        json.dump(result, file)
    os.rename(f"{path}.new", path)


def application(_environ, start_response):
    start_response("200 OK", [])
    return [b""]


if uwsgi.worker_id():
    run()
