#!/usr/bin/env python3
"""The door through which root hands in an engine (--runsc-path): who may, what is taken, how often, how many; and that what runs is the file that was opened, whatever has its name by then."""
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
import warden as w
from client import Client
from harness import CLI, IS_ROOT, USER, check, check_equal, main, skip, test
from service import Events, Service, wait

OWN_UID = 0x7fff0000
RUNSC = "/usr/bin/runsc"
ENGINE = 8  # the flag of SPAWN


def needs():
    if not IS_ROOT:
        skip("the service is started as root")
    if not os.access(RUNSC, os.X_OK):
        skip(f"no {RUNSC} (package runsc)")


class Place:
    """A service without a gVisor sandbox, and a directory of root's with engines that say in a file that it was they."""

    def __enter__(self):
        self.service = Service(config="[service]\nprepared = 0\n").start()
        self.dir = tempfile.mkdtemp(prefix="creto-engine-", dir="/var/tmp")
        os.chmod(self.dir, 0o711)
        self.door = os.path.join(self.service.run_dir, "engine.sock")
        return self

    def __exit__(self, *exc):
        self.service.__exit__(*exc)
        subprocess.run(["rm", "-rf", self.dir], check=True)

    def engine(self, name):
        path = os.path.join(self.dir, name)
        with open(path, "w") as f:
            f.write(f'#!/bin/sh\necho "$0" >>{self.dir}/{name}.ran\nexec {RUNSC} "$@"\n')
        os.chmod(path, 0o755)
        return path

    def ran(self, name):
        return os.path.exists(os.path.join(self.dir, name + ".ran"))

    def fds(self):
        return len(os.listdir(f"/proc/{self.service.warden}/fd"))

    def send(self, token, fds, sock=None):
        """One datagram, as it comes."""
        with sock or socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as s:
            if not sock:
                s.connect(self.door)
            socket.send_fds(s, [token.encode()], fds)

    def offer(self, path, token=None, flags=os.O_RDONLY):
        token = token or os.urandom(16).hex()
        fd = os.open(path, flags)
        try:
            self.send(token, [fd])
        finally:
            os.close(fd)
        return token

    def spawn(self, token, **spec):
        return self.service.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": "gvisor", "engineOffer": token, **spec}})

    def refused(self, token, word, code="BACKEND_UNAVAILABLE", **spec):
        a = self.spawn(token, **spec)
        check(a.status >= 400 and a.code == code and word in a.json["error"]["message"], f"wanted {code} with {word!r}: {a.status} {a.body[:400]!r}")


@test
def what_was_opened_is_what_runs_once():
    needs()
    with Place() as p:
        s = p.service
        first, other = p.engine("first"), p.engine("other")
        events = Events(s, "GET", "/v1/events")
        token = p.offer(first)
        os.rename(other, first)  # another file has its name now
        sb = p.spawn(token)
        check_equal(sb.status, 201, sb.body)
        check(p.ran("first") and not p.ran("other"), "the file that was opened ran, and not what has its name")
        check("engineOffer" not in sb.json["spec"] and token not in str(s.good("GET", f"/v1/sandboxes/{sb.json['sandboxId']}")), "the word is not shown")
        check_equal(s.exec(sb.json["sandboxId"], "echo", "it runs")["stdout"], b"it runs\n", "it is a sandbox")
        held = [os.readlink(f"/proc/{s.warden}/fd/{n}") for n in os.listdir(f"/proc/{s.warden}/fd")]
        check(not [path for path in held if path.startswith(p.dir)], f"the warden keeps it open: {held}")
        p.refused(token, "no engine is offered")  # once
        check(not p.ran("other"), "nor afterwards")
        plain = s.call("POST", "/v1/sandboxes", {"spec": {"runtimeClass": "gvisor"}})
        check_equal(plain.status, 201, plain.body)
        check(not p.ran("other"), "others have the installed one")
        told, _, event = next(iter(events))
        events.close()
        check_equal((told, event["details"]), ("SandboxSpawned", {"runtimeClass": "gvisor", "requestedRuntimeClass": "gvisor", "engine": "offered"}), "the event says so")


@test
def nobody_but_root_may():
    needs()
    with Place() as p:
        path, before = p.engine("mine"), p.fds()
        check_equal(oct(os.stat(p.door).st_mode & 0o777), "0o600", "mode of the door")

        def as_user(connected):
            """A datagram sent by an ordinary user: over a socket of its own, or one that root has connected."""
            token = os.urandom(16).hex()
            s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            if connected:
                s.connect(p.door)
            pid = os.fork()
            if pid == 0:
                status = 0
                try:
                    os.setgroups([])
                    os.setresgid(USER, USER, USER)
                    os.setresuid(USER, USER, USER)
                    if not connected:
                        s.connect(p.door)
                    fd = os.open(path, os.O_RDONLY)
                    socket.send_fds(s, [token.encode()], [fd])
                except PermissionError:
                    status = 3
                finally:
                    os._exit(status)
            s.close()
            return token, os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])

        check_equal(as_user(False)[1], 3, "an ordinary user cannot reach it")
        token, status = as_user(True)
        check_equal(status, 0, "a socket that root has connected carries it")
        p.refused(token, "no engine is offered")
        check(not p.ran("mine"), "it did not run")
        wait(lambda: p.fds() == before, 5, "the warden has as many descriptors as before")
        r = subprocess.run([CLI, "spawn", "--runsc-path", path], env=Client(p.service).env, capture_output=True, text=True, check=False,
                           user=USER, group=USER, extra_groups=[])
        check(r.returncode != 0 and "root" in r.stderr, f"the command line says who may: {r}")


@test
def what_is_no_engine_of_root_alone_is_not_taken():
    needs()
    with Place() as p:
        s, before = p.service, p.fds()
        for name, spoil in (("others' to write", lambda f: os.chmod(f, 0o757)), ("a group's to write", lambda f: os.chmod(f, 0o775)),
                            ("somebody else's", lambda f: os.chown(f, USER, USER)), ("no program", lambda f: os.chmod(f, 0o644))):
            path = p.engine("e")
            token = p.offer(path)
            spoil(path)  # after it was offered: it is looked at when it is used
            p.refused(token, "no program that root owns")
            os.unlink(path)
        for name, path, flags in (("a directory", p.dir, os.O_RDONLY), ("a device", "/dev/null", os.O_RDWR)):
            p.refused(p.offer(path, flags=flags), "no program that root owns")
        r, wr = os.pipe()
        token = os.urandom(16).hex()
        p.send(token, [r])
        os.close(r), os.close(wr)
        p.refused(token, "no program that root owns")
        p.refused(p.offer("/bin/false"), "does not answer as an engine does")  # a program of root's, and no engine
        check(not p.ran("e"), "none of them ran")
        wait(lambda: p.fds() == before, 5, "the warden has as many descriptors as before")
        s.good("POST", "/v1/sandboxes", {"spec": {}})


@test
def messages_that_are_none():
    needs()
    with Place() as p:
        path, before = p.engine("e"), p.fds()
        fd = os.open(path, os.O_RDONLY)
        good = os.urandom(16).hex()
        for token, fds in (("", [fd]), (good[:31], [fd]), (good + "0", [fd]), (good.upper().replace("0", "A"), [fd]), ("../" + good[3:], [fd]), (good, []), (good, [fd, fd]),
                           (good, [fd] * 10), ("x" * 4000, [fd])):
            p.send(token, fds)
        p.refused(good, "no engine is offered")
        wait(lambda: p.fds() == before, 5, "the warden has as many descriptors as before")
        for token in ("", good[:31], good + "0", "G" * 32, 7, ["x"], "0" * 31 + "\u0000"):
            a = p.spawn(token)
            check_equal((a.status, a.code), (400, "INVALID_SPEC"), f"{token!r}")
        p.send(good, [fd])
        p.send(good, [os.open("/bin/true", os.O_RDONLY)])  # the same word again is nothing
        check_equal(p.spawn(good).status, 201, "after all of that")
        check(p.ran("e"), "the first of that word")
        os.close(fd)


@test
def no_more_than_a_few():
    needs()
    with Place() as p:
        path, before = p.engine("e"), p.fds()
        tokens = [p.offer(path) for _ in range(7)]
        wait(lambda: p.fds() == before + 7, 5, "seven are held")
        for _ in range(20):
            tokens.append(p.offer(path))
            wait(lambda: p.fds() <= before + 8, 5, "no more than eight are held")
        check_equal(p.fds(), before + 8, "held")
        p.refused(tokens[-1], "8 were offered before")
        check_equal(p.spawn(tokens[0]).status, 201, "the first of them")
        wait(lambda: p.fds() >= before + 7, 5, "the others stay")
        check_equal(p.spawn(p.offer(path)).status, 201, "there is room again")


@test
def the_daemon_cannot_name_one_itself():
    needs()
    with Place() as p:
        s, path = p.service, p.engine("e")
        s.good("POST", "/v1/sandboxes", {"spec": {}})
        payload = w.spawn_request("canary", flags=ENGINE, runtime="gvisor")
        listener = os.path.join(s.run_dir, "warden.sock")

        def as_peer(uid):
            """A SPAWN with an engine's descriptor by a peer of that uid: what it is told."""
            r, wr = os.pipe()
            pid = os.fork()
            if pid == 0:
                said = "?"
                try:
                    fd = os.open(path, os.O_RDONLY)
                    os.setresuid(uid, uid, uid)
                    peer = w.Peer(listener)
                    peer.s.settimeout(20)
                    socket.send_fds(peer.s, [struct.pack("<HHI", w.SPAWN, 0, 99) + payload], [fd])
                    while True:
                        kind, serial, body, _ = peer.receive()
                        if serial == 99:
                            break
                    code = body.take("<I") if kind == w.ERROR else 0
                    body.take("<i") if code else None
                    said = body.text() if code else "made"
                except BaseException as e:
                    said = repr(e)
                finally:
                    os.write(wr, said.encode())
                    os._exit(0)
            os.close(wr)
            with os.fdopen(r, "rb") as f:
                text = f.read().decode()
            os.waitpid(pid, 0)
            return text

        daemon = s.daemon
        os.kill(daemon, signal.SIGSTOP)  # we are it now
        try:
            said = as_peer(OWN_UID)
            check("only root may name an engine" in said, f"the daemon's uid: {said}")
            check(not p.ran("e"), "it did not run")
            check_equal(as_peer(0), "made", "the same from root (so that it is refused for no other reason)")
            check(p.ran("e"), "and so it ran")
        finally:
            os.kill(daemon, signal.SIGCONT)


@test
def one_sandbox_once():
    needs()
    with Place() as p:
        path = p.engine("e")
        p.refused(p.offer(path), "takes no other runsc", code="INVALID_SPEC", runtimeClass="native")
        p.refused(p.offer(path), "takes no other runsc", code="INVALID_SPEC", runtimeClass="runc")
        p.refused(p.offer(path), "made once", code="INVALID_SPEC", restartPolicy="Always")
        a = p.service.call("POST", "/v1/warm-pools", {"id": "p", "template": {"runtimeClass": "gvisor", "engineOffer": p.offer(path)}, "minReady": 1})
        check_equal((a.status, a.code), (400, "INVALID_SPEC"), a.body)
        check(not p.ran("e"), "it did not run")
        p.refused("0" * 32, "no engine is offered")


if __name__ == "__main__":
    main()
