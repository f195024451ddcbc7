"""Many requests at once on one FastCGI connection, with a reader that falls behind.

The answers are larger than what the kernel holds, so every record is sent in parts, by threads
that take turns: nothing may come between the parts of one. The sender mixes in what is answered
at once, wherever the answers stand: questions for values, and requests that are taken back.
"""

import random
import socket
import struct
import threading
import time

import pytest

from tests.suite import wires
from tests.suite.stage import Stage
from tests.suite.wires import Req, record

IDS = range(1, 17)
TAKEN_BACK = range(1000, 1400)  # ids that are begun and aborted without any PARAMS, as HAProxy does
QUESTION = record(9, wires.pair(b"FCGI_MPXS_CONNS", b""), 0)


def records(request_id: int, body: bytes, step: int) -> list[bytes]:
    """One request in pieces that others may come between."""
    request = Req("POST", "/", (("Suite-App", "mirror"),), body)
    block = b"".join(
        wires.pair(k.encode("latin-1"), v.encode("latin-1"))
        for k, v in wires.variables(request, "/app")
    )
    begin = record(1, struct.pack("!HB5x", 1, 1), request_id)
    pieces = [body[i : i + step] for i in range(0, len(body), step)]
    return [
        begin,
        record(4, block, request_id) + record(4, b"", request_id),
        *(record(5, piece, request_id) for piece in pieces),
        record(5, b"", request_id),
    ]


def send_mixed(sock: socket.socket, queues: dict[int, list[bytes]], dice: random.Random) -> None:
    taken_back = iter(TAKEN_BACK)
    while queues:
        request_id = dice.choice(list(queues))
        sock.sendall(queues[request_id].pop(0))
        other = next(taken_back, 0)
        if other:
            begin = record(1, struct.pack("!HB5x", 1, 1), other)
            sock.sendall(QUESTION + begin + record(2, b"", other))
        if not queues[request_id]:
            del queues[request_id]


def receive(sock: socket.socket, dice: random.Random) -> dict[int, bytes]:
    """STDOUT of every id, until all have ended; the reader pauses, and takes odd amounts."""
    out = {request_id: bytearray() for request_id in IDS}
    ended: set[int] = set()
    got, at = bytearray(), 0
    while len(ended) < len(IDS):
        time.sleep(dice.choice([0, 0, 0, 0.001, 0.003]))
        data = sock.recv(dice.choice([100, 4096, 65_536]))
        assert data, f"closed after {sorted(ended)}"
        got += data
        while len(got) - at >= 8:
            version, kind, request_id, size, pad = struct.unpack_from("!BBHHB", got, at)
            assert version == 1, f"no record at {at}: {bytes(got[at : at + 16])!r}"
            if len(got) - at < 8 + size + pad:
                break
            if request_id == 0 or request_id in TAKEN_BACK:
                assert kind == (10 if request_id == 0 else 3), f"type {kind} for {request_id}"
                at += 8 + size + pad
                continue
            assert request_id in out, f"id {request_id} at {at}"
            assert request_id not in ended, f"id {request_id} after its end (F003)"
            if kind == 6:
                out[request_id] += got[at + 8 : at + 8 + size]
            elif kind == 3:
                ended.add(request_id)
            at += 8 + size + pad
    return {request_id: bytes(data) for request_id, data in out.items()}


@pytest.mark.parametrize("seed", range(4))
def test_F085_parts_of_records_are_not_mixed(stage: Stage, seed: int) -> None:
    dice = random.Random(seed)
    stage.daemon("mpxs")
    bodies = {n: bytes([n]) * (40_000 + 7_919 * n) for n in IDS}
    queues = {n: records(n, body, dice.choice([8_000, 32_000])) for n, body in bodies.items()}
    with wires.connect(stage.path("mpxs", "fcgi")) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, dice.choice([4096, 65_536]))
        sender = threading.Thread(target=send_mixed, args=(sock, queues, dice))
        sender.start()
        found = receive(sock, random.Random(seed + 100))
        sender.join()
    for request_id, body in bodies.items():
        status, _, _, answer = wires.head_and_body(found[request_id])
        assert (status, answer == body) == (200, True), f"id {request_id}: {len(answer)} bytes"
