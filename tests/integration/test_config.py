#!/usr/bin/python3
"""The configuration file, and what it changes; a stop that keeps, a stop that waits; TLS; the start by systemd."""
import base64
import contextlib
import hashlib
import hmac
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import BUILD, IS_ROOT, Failed, check, check_equal, main, poll, skip, test  # noqa: E402
from service import RUNTIMED, Service, UnixConnection, wait  # noqa: E402

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def root_only():
    if not IS_ROOT:
        skip("the service is started by root")


def refused(config, mode=0o600):
    """What a start with that file says; nothing is made of it."""
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="creto-service-") as top:
        path = os.path.join(top, "config.toml")
        with open(path, "w") as f:
            f.write(config)
        os.chmod(path, mode)
        r = subprocess.run([RUNTIMED, "--config", path, "--state-dir", top + "/state", "--run-dir", top + "/run", "--listen", ""],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20)
        check(r.returncode == 64, f"exit status {r.returncode}: {r.stderr}")
        check_equal(sorted(os.listdir(top)), ["config.toml"], "what a refused start made")
        return r.stderr


@test
def the_file_that_comes_with_it_is_right():
    root_only()
    with open(os.path.join(ROOT, "deploy/config.toml")) as f:
        text = f.read()
    shown = re.sub(r"^#(\w[\w-]* = )", r"\1", text, flags=re.M)
    shown = "".join(line for line in shown.splitlines(True) if not re.match(r"(user|listen|socket|state_dir|run_dir|tls_\w+) = ", line))
    check(shown.count("\n[") == 10 and "drain_seconds = 5\n" in shown, "the settings are shown with their defaults")
    with Service(config=shown) as s:
        plain = s.good("GET", "/v1/sandboxes/" + s.spawn())["spec"]
        check_equal((plain["ttlSeconds"], plain["idleTimeoutSeconds"], plain["resourceLimits"]["memoryBytes"]), (None, None, 512 << 20), "defaults of the file")
    with Service(config='[defaults]\nttl = "1h"\nidle-timeout = "10m"\nmemory = "64M"\n') as s:
        plain = s.good("GET", "/v1/sandboxes/" + s.spawn())["spec"]
        check_equal((plain["ttlSeconds"], plain["idleTimeoutSeconds"], plain["resourceLimits"]["memoryBytes"]), (3600, 600, 64 << 20), "other defaults")


@test
def a_wrong_file_is_refused_by_line():
    root_only()
    for text, said in (("[server]\nlisten = 1\n", "line 2: server.listen must be a string"),
                       ("[server]\n\nlisen = ''\n", "line 3: server.lisen is no setting"),
                       ("x = 1", "line 1: x is no setting"),
                       ("[service]\non_stop = 'stay'", 'must be "keep" or "terminate"'),
                       ("[limits]\nmax_execs = -1", "must be a whole number from 0 to 10000"),
                       ("[limits]\nmin_free_disk = 'much'", "must be a size"),
                       ("[defaults]\nmemory = '1K'", "line 2: defaults.memory"),
                       ("[server]\ntls_key = '/nonexistent'", "go together"),
                       ("[server", "line 1: a table's name ends with ']'"),
                       ("a" * 300000, "more than 256 KiB")):
        err = refused(text)
        check(said in err, f"{text[:40]!r}: {err}")
    check("others than root may write" in refused("", mode=0o666), "a file that anybody may write to")


@test
def a_stop_can_keep():
    root_only()
    with Service(config="[service]\non_stop = 'keep'\n") as s:
        sb = s.spawn()
        run = s.good("POST", f"/v1/sandboxes/{sb}/exec", {"command": {"program": "sh", "args": ["-c", "sleep 1; echo over; exit 9"]}, "detach": True})["execId"]
        s.stop()
        time.sleep(1.2)
        s.start()
        check_equal(s.status(sb), "Running", "after a restart")
        wait(lambda: s.good("GET", f"/v1/sandboxes/{sb}/exec/{run}")["status"] == "Exited", 5, "its command has ended")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}/exec/{run}")["exitCode"], 9, "exit code of a command that ended while the service was down")
        s.terminate(sb)


@test
def a_restart_keeps_whatever_the_file_says():
    root_only()
    with Service(config="[service]\non_stop = 'terminate'\n") as s:
        sb = s.spawn()
        s.exec(sb, "sh", "-c", "echo kept > f")
        s.process.send_signal(signal.SIGUSR1)  # what systemd sends for a restart
        s.stop()
        s.start()
        check_equal((s.status(sb), s.exec(sb, "cat", "f")["stdout"]), ("Running", b"kept\n"), "after a restart")


@test
def a_stop_waits_for_what_runs():
    root_only()
    with Service(config="[service]\ndrain_seconds = 20\n") as s:
        sb = s.spawn()
        got = []
        t = threading.Thread(target=lambda: got.append(s.exec(sb, "sh", "-c", "sleep 1; echo done; exit 3")))
        t.start()
        wait(lambda: s.good("GET", f"/v1/sandboxes/{sb}/exec")["execs"], 5, "it runs")
        began = time.monotonic()
        s.process.send_signal(signal.SIGTERM)
        s.process.wait(timeout=30)
        t.join()
        check_equal([(x["stdout"], x["exitCode"]) for x in got], [(b"done\n", 3)], "a command that ran when the service was stopped")
        check(0.3 < time.monotonic() - began < 15, f"it took {time.monotonic() - began:.1f} s")


@test
def keys_and_roles_of_the_file():
    root_only()
    key = "a-key-that-the-operator-made"
    digest = hashlib.sha256(key.encode()).hexdigest()
    with Service(tcp=True, config=f"[auth]\nkeys = ['ci=agent={digest}']\nsocket_roles = ['nobody=operator']\n"
                                  "[server]\nsocket_group = 'nogroup'\n[limits]\nmax_sandboxes_per_key = 2\n") as s:
        for _ in range(2):
            s.spawn(api_key=key)
        more = s.call("POST", "/v1/sandboxes", {"spec": {}}, key=key)
        check_equal((more.status, more.code), (503, "RESOURCE_EXHAUSTED"), "a third one of that key")
        check("2" in more.json["error"]["message"], f"the number is said: {more.body!r}")
        s.spawn()
        # somebody else on the unix socket
        script = f"""
import http.client, socket, sys
class C(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX); self.sock.connect({s.socket!r})
for path in ("/metrics", "/v1/api-keys"):
    c = C("x"); c.request("GET", path); print(c.getresponse().status)
"""
        r = subprocess.run(["/usr/bin/python3", "-c", script], user="nobody", group="nogroup", extra_groups=[], capture_output=True, text=True, timeout=20, cwd="/")
        check_equal(r.stdout.split(), ["200", "403"], f"an operator's metrics, and an admin's keys: {r.stderr}")


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Issuer:
    """Signs with RSA, by openssl."""

    def __init__(self, top, name):
        self.key = os.path.join(top, name + ".pem")
        subprocess.run(["openssl", "genrsa", "-out", self.key, "2048"], check=True, stdin=subprocess.DEVNULL, capture_output=True)
        modulus = subprocess.run(["openssl", "rsa", "-in", self.key, "-noout", "-modulus"], check=True, capture_output=True, text=True).stdout
        self.jwk = {"kty": "RSA", "kid": name, "n": b64(bytes.fromhex(modulus.strip().split("=")[1])), "e": "AQAB"}

    def token(self, header=None, **claims):
        claims = {"sub": "alice", "iss": "https://issuer", "aud": ["creto", "x"], "exp": time.time() + 600, **claims}
        text = b64(json.dumps({"alg": "RS256", "kid": self.jwk["kid"], **(header or {})}).encode()) + "." + \
            b64(json.dumps({k: v for k, v in claims.items() if v is not None}).encode())
        signature = subprocess.run(["openssl", "dgst", "-sha256", "-sign", self.key], input=text.encode(), check=True, capture_output=True).stdout
        return text + "." + b64(signature)


@test
def tokens_of_somebody_else():
    root_only()
    if not shutil.which("openssl"):
        skip("openssl is not installed")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="creto-service-") as top:
        good, other = Issuer(top, "one"), Issuer(top, "two")
        with open(top + "/jwks.json", "w") as f:
            json.dump({"keys": [Issuer(top, "three").jwk, good.jwk]}, f)
        os.chmod(top + "/jwks.json", 0o600)
        with Service(tcp=True, config=f"[auth]\njwks_file = '{top}/jwks.json'\njwt_issuer = 'https://issuer'\njwt_audience = 'creto'\n") as s:
            sb = s.spawn(api_key=good.token())
            check_equal(s.good("GET", f"/v1/sandboxes/{sb}", key=good.token())["owner"], "jwt:alice", "whose it is")
            check_equal(s.call("GET", f"/v1/sandboxes/{sb}", key=good.token(sub="bob")).status, 404, "somebody else")
            check_equal(s.call("GET", f"/v1/sandboxes/{sb}", key=good.token(sub="op", role="operator")).status, 200, "an operator")
            check_equal(s.call("GET", "/metrics", key=good.token()).status, 403, "an agent's metrics")
            hmac_key = b64(hmac.new(json.dumps(good.jwk).encode(), b"x", "sha256").digest())
            head, body, signature = good.token().split(".")
            wrong = {
                "another key": other.token(), "another key by our key's name": other.token(header={"kid": "one"}),
                "expired": good.token(exp=time.time() - 120), "without an end": good.token(exp=None), "an end that is no number": good.token(exp="never"),
                "not yet": good.token(nbf=time.time() + 600), "another issuer": good.token(iss="https://evil"), "no issuer": good.token(iss=None),
                "another audience": good.token(aud="y"), "nobody": good.token(sub=None), "an empty name": good.token(sub=""),
                "a name with a line": good.token(sub="a\nb"), "a long name": good.token(sub="a" * 200), "a role that is none": good.token(role="root"),
                "no signature": head + "." + body + ".", "alg none": b64(b'{"alg":"none"}') + "." + body + ".",
                "alg HS256": b64(b'{"alg":"HS256"}') + "." + body + "." + hmac_key, "another body": head + "." + b64(b'{"sub":"root"}') + "." + signature,
                "half": head + "." + body, "rubbish": "x.y.z", "long": "a." * 5000}
            for what, token in wrong.items():
                answer = s.call("GET", "/v1/sandboxes", key=token)
                check_equal((what, answer.status, answer.code), (what, 401, "UNAUTHENTICATED"), answer.json["error"]["message"])
            s.kill("creto-runtimed")
            check_equal(s.call("GET", f"/v1/sandboxes/{sb}", key=good.token()).status, 200, "after the death of the daemon")


@test
def callers_are_slowed_down():
    root_only()
    with Service(config="[limits]\nrequests_per_second = 5\nburst = 10\n") as s:
        answers = [s.call("GET", "/v1/sandboxes") for _ in range(15)]
        check_equal([a.status for a in answers[:10]], [200] * 10, "a burst")
        late = [a for a in answers if a.status == 429]
        check(3 <= len(late) <= 5 and late[0].code == "RATE_LIMITED" and late[0].headers.get("Retry-After"), f"{[a.status for a in answers]}")


def make_certificate(top):
    cert, key = os.path.join(top, "cert.pem"), os.path.join(top, "key.pem")
    r = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=localhost",
                        "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", key, "-out", cert], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    if r.returncode != 0:
        raise Failed(r.stderr)
    os.chmod(key, 0o600)
    return cert, key


@test
def https():
    root_only()
    if not shutil.which("openssl"):
        skip("openssl is not installed")
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="creto-service-") as top:
        cert, key = make_certificate(top)
        with Service(tcp=True, config=f"[server]\ntls_certificate = '{cert}'\ntls_key = '{key}'\n") as s:
            token = s.good("POST", "/v1/api-keys", {"name": "t", "role": "agent"})["key"]

            def get(path, headers):
                c = http.client.HTTPSConnection("127.0.0.1", s.port, timeout=10, context=ssl.create_default_context(cafile=cert))
                c.request("GET", path, headers=headers)
                r = c.getresponse()
                status, body = r.status, r.read()
                c.close()
                return status, body
            check_equal(get("/v1/sandboxes", {"Authorization": f"Bearer {token}"})[0], 200, "with a key")
            check_equal(get("/v1/sandboxes", {})[0], 401, "without one")
            plain = http.client.HTTPConnection("127.0.0.1", s.port, timeout=10)
            with contextlib.suppress(OSError, http.client.HTTPException):
                plain.request("GET", "/health")
                raise Failed(f"plain HTTP is answered: {plain.getresponse().status}")
            s.kill("creto-runtimed")
            check_equal(get("/health", {})[0], 200, "after the death of the daemon")


@test
def started_by_systemd():
    """Its protocol by hand: sockets as descriptors from 3 on, an unprivileged user, a word when it is ready; the warden as a unit of its own."""
    root_only()
    with tempfile.TemporaryDirectory(dir="/var/tmp", prefix="creto-service-") as top:
        os.chmod(top, 0o755)
        run, state = top + "/run", top + "/state"
        for d, owner in ((run, 0), (state, 0), (state + "/service", 65534)):
            os.mkdir(d, 0o755 if owner == 0 else 0o700)
            os.chown(d, owner, owner)
        listeners = {}
        for name, kind in (("warden", socket.SOCK_SEQPACKET), ("runtime", socket.SOCK_STREAM)):
            listeners[name] = socket.socket(socket.AF_UNIX, kind)
            listeners[name].bind(f"{run}/{name}.sock")
            os.chown(f"{run}/{name}.sock", 65534, 65534)
            listeners[name].listen(64)
        tcp = socket.create_server(("127.0.0.1", 0))
        notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notify.bind(top + "/notify")
        os.chmod(top + "/notify", 0o666)
        notify.settimeout(20)

        def give(*sockets):
            fds = [os.dup(s.fileno()) for s in sockets]

            def setup():
                for i, fd in enumerate([os.dup2(fd, 100 + i) for i, fd in enumerate(fds)]):
                    os.dup2(fd, 3 + i)
                    os.close(fd)
                os.environ["LISTEN_PID"] = str(os.getpid())
            return setup, fds
        setup, fds = give(listeners["warden"])
        warden = subprocess.Popen([os.path.join(BUILD, "src/programs/warden/creto-warden"), "--run-dir", run, "--state-dir", state, "--image-store",
                                   state + "/images", "--peer", "65534"], stdin=subprocess.DEVNULL, preexec_fn=setup, close_fds=False)
        # LISTEN_PID is the pid of who reads it: a shell sets it, and becomes the program
        script = f"LISTEN_PID=$$ exec {RUNTIMED} --state-dir {state} --run-dir {run} --config ''"
        setup2, fds2 = give(listeners["runtime"], tcp)
        daemon = subprocess.Popen(["sh", "-c", script], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, preexec_fn=setup2, close_fds=False, user=65534,
                                  group=65534, extra_groups=[], env={"PATH": os.environ["PATH"], "LISTEN_FDS": "2", "NOTIFY_SOCKET": top + "/notify"})
        try:
            check_equal(notify.recv(100), b"READY=1", "what it says when it is ready")
            c = UnixConnection(run + "/runtime.sock")
            c.request("POST", "/v1/sandboxes", body=b"{}")
            r = c.getresponse()
            check_equal((r.status, b"sandboxId" in r.read()), (201, True), "a sandbox")
            c = http.client.HTTPConnection("127.0.0.1", tcp.getsockname()[1], timeout=10)
            c.request("GET", "/health")
            check_equal(c.getresponse().status, 200, "over TCP")
        finally:
            daemon.terminate()
            daemon.wait(timeout=20)
            warden.terminate()
            warden.wait(timeout=20)
            for fd in fds + fds2:
                os.close(fd)
        check_equal(notify.recv(100), b"STOPPING=1", "what it says when it stops")


@test
def what_sandboxes_inherit_of_the_unit():
    """The kernel hands it on to engines and to commands."""
    with open(os.path.join(ROOT, "deploy/systemd/creto-warden.service.in")) as f:
        keys = {line.split("=")[0] for line in f if re.match(r"[A-Z]\w+=", line)}
    for key in ("MemoryDenyWriteExecute", "NoNewPrivileges", "SystemCallFilter", "RestrictNamespaces", "PrivateDevices", "ProtectKernelTunables", "ProtectControlGroups", "PrivateMounts"):
        check(key not in keys, f"{key} in the warden's unit ends engines or commands")


@test
def units_are_right():
    verify = shutil.which("systemd-analyze")
    if not verify:
        skip("systemd-analyze is not installed")
    with tempfile.TemporaryDirectory() as top:
        for name in os.listdir(os.path.join(ROOT, "deploy/systemd")):
            with open(os.path.join(ROOT, "deploy/systemd", name)) as f:
                text = f.read()
            text = text.replace("@libexec@/creto-warden", "/bin/true").replace("@bin@/creto-runtimed", "/bin/true")
            text = re.sub(r"^(User|Group|SocketUser|SocketGroup)=.*$", r"\1=daemon", text, flags=re.M)
            text = text.replace("Documentation=man:creto-runtimed(8)\n", "")
            with open(os.path.join(top, name.removesuffix(".in")), "w") as f:
                f.write(text)
        units = [os.path.join(top, n) for n in os.listdir(top) if n.endswith((".service", ".socket"))]
        r = subprocess.run([verify, "verify", *units], capture_output=True, text=True, timeout=60)
        said = [line for line in r.stderr.splitlines() if "creto-" in line]
        check_equal((len(units), said), (4, []), "units, and what is wrong with them")


if __name__ == "__main__":
    main()
