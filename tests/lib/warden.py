"""A client of the warden's protocol (docs/protocols/ipc.md), for tests that play the daemon."""
import os
import socket
import struct

from harness import check_equal

HELLO, SPAWN, USAGE, TERMINATE, LIST, ATTACH, FREEZE, LIMIT = 1, 2, 3, 4, 6, 7, 8, 9
HELLO_OK, SPAWNED, TERMINATED, EXITED, LISTED, ATTACHED, FROZEN, LIMITED, ERROR = 0x81, 0x82, 0x84, 0x85, 0x87, 0x88, 0x89, 0x8A, 0x8F
RUNNING, STOPPED, GONE = 1, 2, 4
UNLIMITED = 2**64 - 1
#         memory     swap cpu   pids disk       inodes nofile core output: domain/limits.h
LIMITS = [64 << 20, 0, 1000, 64, 16 << 20, 1024, 1024, 0, 256 << 20]


def text(s):
    return struct.pack("<I", len(s)) + s.encode()


class Reader:
    def __init__(self, data):
        self.data = data

    def take(self, form):
        n = struct.calcsize(form)
        out, self.data = struct.unpack(form, self.data[:n]), self.data[n:]
        return out[0]

    def text(self):
        n = self.take("<I")
        out, self.data = self.data[:n].decode(), self.data[n:]
        return out


class Refused(Exception):
    pass


BACKGROUND, BESIDE, KVM = 1, 2, 4


def spawn_request(name, flags=0, limits=None, runtime="native", offer=""):
    """The payload of a SPAWN of the host's /usr."""
    payload = text(name) + struct.pack("<BI", 0, 0) + text(name) + struct.pack("<II", 1000, 1000) + text("/home/agent")
    return payload + struct.pack("<9Q", *(limits or LIMITS)) + struct.pack("<II", 0, flags) + text(runtime) + text(offer)


class Peer:
    """One connection: to a socket by its path, or one that is there."""

    def __init__(self, path, flags=0, prepared=0, greet=True):
        self.serial = 0
        self.events = []
        self.sent = set()  # by send()
        self.s = path if isinstance(path, socket.socket) else socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.s.settimeout(20)
        if self.s is not path:
            self.s.connect(path)
        if greet:
            self.ask(HELLO, struct.pack("<III", 4, flags, prepared), HELLO_OK)

    def ask(self, kind, payload, wanted):
        mine = self.send(kind, payload)
        self.sent.discard(mine)
        while True:
            got, serial, body, fds = self.receive()
            if serial in self.sent:  # of a request whose answer nobody waits for now
                for fd in fds:
                    os.close(fd)
                continue
            if serial == 0:
                self.events.append((got, body))
                continue
            if got == ERROR:
                code, _ = body.take("<I"), body.take("<i")
                raise Refused(f"{code}: {body.text()}")
            check_equal((got, serial), (wanted, mine), "answer")
            return body, fds

    def send(self, kind, payload):
        """A request whose answer is read later. Returns its serial."""
        self.serial += 1
        self.sent.add(self.serial)
        self.s.send(struct.pack("<HHI", kind, 0, self.serial) + payload)
        return self.serial

    def receive(self):
        """The next answer or event: (type, serial, body, descriptors)."""
        data, fds, _, _ = socket.recv_fds(self.s, 65536, 6)
        if not data:
            raise Refused("the connection ended")
        got, _, serial = struct.unpack("<HHI", data[:8])
        return got, serial, Reader(data[8:]), fds

    def spawn(self, name, flags=0, limits=None, runtime="native"):
        body, fds = self.ask(SPAWN, spawn_request(name, flags, limits, runtime), SPAWNED)
        check_equal(body.text(), name, "id")
        return body.take("<I"), socket.socket(fileno=fds[0])

    def list(self):
        """{id: (state, pid, status)}"""
        body, _ = self.ask(LIST, struct.pack("<I", 0), LISTED)
        total, count = body.take("<I"), body.take("<I")
        out = {}
        for _ in range(count):
            name = body.text()
            out[name] = (body.take("<B"), body.take("<I"), body.take("<i"))
            body.take("<Q")
        check_equal(total, count, "sandboxes listed")
        return out

    def attach(self, name):
        body, fds = self.ask(ATTACH, text(name), ATTACHED)
        check_equal(body.text(), name, "id")
        return socket.socket(fileno=fds[0])

    def freeze(self, name, frozen):
        self.ask(FREEZE, text(name) + struct.pack("<B", frozen), FROZEN)

    def limit(self, name, limits, wanted=0):
        """Which limits are missing: bits."""
        body, _ = self.ask(LIMIT, text(name) + struct.pack("<9QI", *limits, wanted), LIMITED)
        return body.take("<I")

    def terminate(self, name):
        self.ask(TERMINATE, text(name), TERMINATED)

    def close(self):
        self.s.close()
