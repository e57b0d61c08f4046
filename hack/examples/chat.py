#!/usr/bin/env python3
"""A chat over the API of Truechimer: plain HTTP and JSON, nothing but the standard library.

    chat.py [URL [STREAM]]

URL is that of a node, http://127.0.0.1:8123 by default. STREAM is where the chat goes, by
default one that does not exist yet. A node that asks for a token finds it in the environment
variable TRUECHIMER_TOKEN: keep it out of the arguments, which every user of the machine can
read.

Alice and Bob each watch the stream. Whoever answers a message hands its timestamp back
(observe), so that the answer has a greater one wherever the two are; every append has an
idempotency key, so that it can be repeated when the answer to it is lost.
"""

import base64
import http.client
import json
import os
import secrets
import struct
import sys
import time
import urllib.error
import urllib.request

TIMEOUT = 40  # seconds without a word; a wait may take 30, and a watch has its heartbeats
TRIES = 5  # for a call that may succeed when it is repeated
PAGE = 2  # events; few, so that there are several pages

# What may be repeated as it is. "unknown" is the node's word for an append of which it does not
# know what became: the idempotency key makes it safe. So it does after a lost connection.
REPEATABLE = {"unknown", "unavailable", "resource_exhausted", "deadline_exceeded"}


class CallError(Exception):
    """What a node answers instead: a code, and a sentence that says what to do."""

    def __init__(self, code, message):
        super().__init__(f"{code}: {message}")
        self.code = code


def error_of(answer):
    """The CallError in a JSON answer, whoever sent that: a proxy may answer anything."""
    if not isinstance(answer, dict):
        return CallError("unknown", str(answer))
    return CallError(answer.get("code", "unknown"), answer.get("message", ""))


def exactly(response, count):
    """Reads so many bytes; raises OSError where the connection ends before."""
    try:
        data = response.read(count)
    except http.client.HTTPException as e:
        raise ConnectionError(f"the answer was cut: {e!r}") from None
    if len(data) < count:
        raise ConnectionError("the answer was cut")
    return data


class Node:
    """The API of one node. Integers of 64 bits are strings in JSON, bytes are base64."""

    def __init__(self, url, token=""):
        self.url = url.rstrip("/")
        self.token = token

    def _open(self, call, content_type, body):
        request = urllib.request.Request(f"{self.url}/truechimer.v1.{call}", data=body, method="POST")
        request.add_header("Content-Type", content_type)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            return urllib.request.urlopen(request, timeout=TIMEOUT)
        except http.client.HTTPException as e:
            raise ConnectionError(f"no answer: {e!r}") from None
        except urllib.error.HTTPError as e:  # any status but 200
            text = e.read().decode(errors="replace")
            try:
                answer = json.loads(text)
            except ValueError:
                answer = f"HTTP status {e.code}: {text.strip()}"
            raise error_of(answer) from None

    def call(self, call, **request):
        """Sends one request and returns its answer; raises CallError, or OSError where
        the node cannot be reached."""
        with self._open(call, "application/json", json.dumps(request).encode()) as response:
            return json.loads(exactly(response, int(response.headers["Content-Length"])))

    def repeat(self, call, **request):
        """Like call, for what may be done twice: tries again with longer and longer pauses."""
        for left in reversed(range(TRIES)):
            try:
                return self.call(call, **request)
            except (CallError, OSError) as e:
                if left == 0 or isinstance(e, CallError) and e.code not in REPEATABLE:
                    raise
                time.sleep(0.1 * 2 ** (TRIES - left - 1))

    def watch(self, **request):
        """Yields the messages of StreamService/Watch. Each has an envelope in front of it: a
        byte of flags and the length in four bytes, big-endian. The request has one, too. Flag 2
        marks the last message, which says how it ended."""
        body = json.dumps(request).encode()
        envelope = struct.pack(">BI", 0, len(body))
        with self._open("StreamService/Watch", "application/connect+json", envelope + body) as response:
            while True:
                flags, length = struct.unpack(">BI", exactly(response, 5))
                message = json.loads(exactly(response, length))
                if flags & 2:
                    if "error" in message:
                        raise error_of(message["error"])
                    return
                yield message


class Participant:
    """One who talks. seen is the greatest timestamp that has come to them, by any way."""

    def __init__(self, name, node, stream):
        self.name, self.node, self.stream = name, node, stream
        self.seen = 0
        self.heard = self._hear()

    def say(self, text, key=None):
        """Appends a message, after all that was seen. Its key is fresh: the same message may be
        said twice, while the same append must not be made twice."""
        payload = json.dumps({"from": self.name, "text": text}).encode()
        receipt = self.node.repeat(
            "StreamService/Append",
            entries=[{"stream": self.stream, "payload": base64.b64encode(payload).decode()}],
            observe=str(self.seen),
            idempotencyKey=key or secrets.token_hex(16),
        )
        self.seen = max(self.seen, int(receipt["timestamp"]))
        return receipt

    def listen(self):
        """Waits for the next message of somebody else."""
        for event in self.heard:
            self.seen = max(self.seen, int(event["timestamp"]))
            message = message_of(event)
            if message["from"] != self.name:
                return message["text"]

    def _hear(self):
        """Yields events as they come. After a lost connection it goes on at the cursor: nothing
        is missed, and nothing comes twice."""
        start, failures = {"oldest": True}, 0
        while True:
            try:
                for answer in self.node.watch(names=[self.stream], **start):
                    yield from answer["events"]  # none in a heartbeat
                    start, failures = {"cursor": answer["cursor"]}, 0
            except (CallError, OSError) as e:
                failures += 1
                if failures == TRIES or isinstance(e, CallError) and e.code not in REPEATABLE:
                    raise
                time.sleep(0.05 * 2**failures)


def message_of(event):
    return json.loads(base64.b64decode(event["payload"]))


def read_pages(node, stream):
    """Yields the pages of a whole stream."""
    request = {"stream": stream, "limit": PAGE}
    while True:
        page = node.repeat("StreamService/Read", **request)
        yield page["events"]
        if not page["cursor"]:
            return
        request["cursor"] = page["cursor"]


def talk(node, stream):
    alice, bob = Participant("alice", node, stream), Participant("bob", node, stream)
    for question, answer in [("deploy now?", "tests are green"), ("go?", "go!")]:
        alice.say(question)
        print(f"bob hears: {bob.listen()}")
        bob.say(answer)
        print(f"alice hears: {alice.listen()}")

    # Alice thanks, and never hears whether that arrived. She repeats it, by the same key.
    key = secrets.token_hex(16)
    first = alice.say("thanks", key)
    again = alice.say("thanks", key)
    print(f"said twice, there once: {again['repeated'] and again['sequences'] == first['sequences']}")
    return alice


def main():
    url = sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:8123"
    stream = sys.argv[2] if len(sys.argv) > 2 else f"chat-{secrets.token_hex(4)}"
    node = Node(url, os.environ.get("TRUECHIMER_TOKEN", ""))

    many = node.repeat("ClockService/Now", count=3)
    first = int(many["timestamp"])
    print(f"three timestamps: {', '.join(str(first + i) for i in range(int(many['count'])))}")

    alice = talk(node, stream)

    for number, events in enumerate(read_pages(node, stream), 1):
        for e in events:
            message = message_of(e)
            print(f"page {number}: {e['sequence']} {e['timestamp']} {message['from']}: {message['text']}")

    try:
        now = node.call("ClockService/Wait", timestamp=str(alice.seen))
        print(f"in the past for certain: UTC is in {now['earliest']} to {now['latest']}")
    except CallError as e:
        if e.code != "failed_precondition":  # a clock that is not synchronised cannot tell
            raise
        print(f"nobody can tell whether it is in the past: {e}")


if __name__ == "__main__":
    try:
        main()
    except (CallError, OSError) as e:
        sys.exit(f"chat.py: {e}")
