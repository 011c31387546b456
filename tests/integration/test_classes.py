#!/usr/bin/python3
"""Who decides where a sandbox runs: auto, trust levels, fallback, drained classes, what the operator lays down; over the API and the command line. `gvisor` is crun under another name here, where its
engine has to be quick, missing or broken."""
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../lib"))
from client import Client
from engines import Engines
from harness import BUILD, CLASS, CLI, IS_ROOT, check, check_equal, creto, main, poll, run, skip, test
from one_image import Registry
from service import RUNTIMED, Events, Service

CRUN = shutil.which("crun") or "/usr/bin/crun"


def needs():
    if not IS_ROOT:
        skip("engines need root")
    if not os.access(CRUN, os.X_OK):
        skip("crun is not installed")


class Host(Service):
    """A service with nothing laid down but `config`, and a file that is the engine of its class gvisor."""

    def __init__(self, config="", runtime=None, installed=True):
        super().__init__(runtime=runtime)
        self.engine = os.path.join(self.top, "engine")
        if installed:
            self.install()
        self.config = os.path.join(self.top, "config.toml")
        with open(self.config, "w") as f:
            f.write(f'[service]\nprepared = 0\n[runtime.gvisor]\nbinary = "{self.engine}"\nengine = "crun"\n{config}\n')

    def install(self, script=f'exec {CRUN} "$@"\n'):
        Engines.write(self.engine, script)

    def make(self, **spec):
        return self.call("POST", "/v1/sandboxes", {"spec": spec})

    def gets(self, runtime, requested, notice, **spec):
        """A sandbox of that class; returns its id."""
        a = self.make(**spec)
        check_equal(a.status, 201, f"{spec}: {a.body[:400]!r}")
        shown = (a.json["runtimeClass"], a.json["requestedRuntimeClass"], a.json["notices"])
        check_equal(shown, (runtime, requested, [notice] if notice else []), f"{spec}")
        check_equal(self.exec(a.json["sandboxId"], "echo", "in")["stdout"], b"in\n", f"{spec}: it runs")
        status = self.good("GET", f"/v1/sandboxes/{a.json['sandboxId']}/status")
        check_equal((status["runtimeClass"], status["requestedRuntimeClass"], status["notices"]), shown, "status")
        return a.json["sandboxId"]

    def refuses(self, code, *words, **spec):
        a = self.make(**spec)
        check(a.status >= 400, f"{spec}: {a.body[:300]!r}")
        check_equal(a.code, code, f"{spec}: {a.body[:400]!r}")
        for word in words:
            check(word in a.body.decode(), f"{spec}: '{word}' is not said: {a.body.decode()}")

    def classes(self):
        return {r["name"]: r for r in self.good("GET", "/v1/runtimes")["runtimes"]}


@test
def auto_is_the_strongest_that_is_there():
    needs()
    with Host(installed=False) as s:
        missing = f"the runtime class is native; gvisor: {s.engine} is not installed"
        first = s.gets("native", "auto", missing)
        check_equal([n for n, r in s.classes().items() if r["default"]], ["native"], "default")
        check(missing in s.said(), "the log says it")
        s.install()
        check(poll(lambda: s.make().json["runtimeClass"] == "gvisor", 10), "an engine that is installed is used within seconds")
        s.gets("gvisor", "auto", None)
        s.gets("gvisor", "auto", None, runtimeClass="auto")
        s.gets("native", "native", None, runtimeClass="native")
        check_equal([n for n, r in s.classes().items() if r["default"]], ["gvisor"], "default")
        old = s.gets("gvisor", "gvisor", None, runtimeClass="gvisor")
        s.good("POST", "/v1/runtimes/gvisor/drain")
        s.gets("native", "auto", "the runtime class is native; gvisor: it is drained")
        s.refuses("BACKEND_UNAVAILABLE", "'gvisor' is drained", "enable --runtime gvisor", "--allow-fallback", runtimeClass="gvisor")
        check_equal(s.exec(old, "echo", "on")["stdout"], b"on\n", "old ones go on")
        s.good("POST", "/v1/runtimes/native/drain")
        s.refuses("BACKEND_UNAVAILABLE", "gvisor: it is drained; native: it is drained")
        s.good("POST", "/v1/runtimes/gvisor/enable")
        s.gets("gvisor", "auto", None)
        s.good("POST", "/v1/runtimes/native/enable")
        check_equal(s.good("GET", f"/v1/sandboxes/{first}")["notices"], [missing], "what was so when it was made")


@test
def a_named_limit_that_the_strongest_cannot_keep():
    needs()
    if not shutil.which("runsc"):
        skip("no runsc")
    with Service(runtime=None, config="[service]\nprepared = 0\n") as s:
        a = s.good("POST", "/v1/sandboxes", {"spec": {"resourceLimits": {"pidLimit": 20}}})
        check_equal((a["runtimeClass"], a["notices"]), ("native", ["the runtime class is native; gvisor: it cannot keep --pids"]), "class")
        a = s.good("POST", "/v1/sandboxes", {"spec": {"resourceLimits": {"memoryBytes": 128 << 20}}})
        check_equal((a["runtimeClass"], a["notices"]), ("gvisor", []), "class")
        check_equal(s.exec(a["sandboxId"], "dmesg")["exitCode"], 0, "gVisor's own kernel answers")


@test
def what_auto_is_may_be_laid_down():
    needs()
    with Host(config='[runtime]\ndefault_runtime_class = "crun"\nfallback = ["native"]\n') as s:
        s.gets("crun", "auto", None)
        s.gets("gvisor", "gvisor", None, runtimeClass="gvisor")
        check_equal([n for n, r in s.classes().items() if r["default"]], ["crun"], "default")
        s.good("POST", "/v1/runtimes/crun/drain")
        s.refuses("BACKEND_UNAVAILABLE", "'crun' is drained", "allowFallback")
        s.gets("native", "auto", "the runtime class is native; crun: it is drained", allowFallback=True)
    with Host(config='[runtime]\ndefault_runtime_class = "crun"\n', runtime="native") as s:
        s.gets("native", "auto", None)  # the command line goes over the file


@test
def trust_levels():
    needs()
    with Host(config='[trust]\ntrusted = "native"\nuntrusted = "nowhere"\n') as s:
        s.gets("native", "native", None, trustLevel="trusted")
        sb = s.gets("gvisor", "gvisor", None, trustLevel="standard")
        check_equal(s.good("GET", f"/v1/sandboxes/{sb}")["spec"]["trustLevel"], "standard", "spec")
        s.gets("gvisor", "gvisor", None, trustLevel="standard", runtimeClass="gvisor")
        s.gets("native", "native", None, trustLevel="trusted", runtimeClass="auto")
        s.refuses("INVALID_SPEC", "'standard'", "'gvisor'", "'native'", trustLevel="standard", runtimeClass="native")
        s.refuses("INVALID_SPEC", "'standard'", "'gvisor'", "'native'", trustLevel="standard", runtimeClass="native", allowFallback=True)
        s.refuses("BACKEND_UNAVAILABLE", "'nowhere'", "--allow-fallback", trustLevel="untrusted")
        s.gets("gvisor", "nowhere", "the runtime class is gvisor, not nowhere; nowhere: there is no such class", trustLevel="untrusted", allowFallback=True)
        s.refuses("BACKEND_UNAVAILABLE", "'confidential'", "[trust]", trustLevel="confidential")
        s.refuses("BACKEND_UNAVAILABLE", "'confidential'", trustLevel="confidential", allowFallback=True)
        for level in ("", "Trusted", "none", 1, "x" * 4000):
            s.refuses("INVALID_SPEC", "spec.trustLevel", trustLevel=level)
        classes = s.classes()
        check_equal({n: r["trustLevels"] for n, r in classes.items() if r["trustLevels"]}, {"native": ["trusted"], "gvisor": ["standard"]}, "levels")
        check(classes["gvisor"]["coldStart"]["medianMs"] > 0 and classes["runc"]["coldStart"] is None, "measured cold starts")
        rows = {r.split("\t")[0]: r.split("\t")[-1] for r in Client(s).out("runtimes").splitlines()}
        check_equal((rows["gvisor"], rows["native"], rows["crun"]), ("default, standard", "trusted", "-"), "runtimes")


@test
def a_class_that_fails_and_one_that_stands_in():
    needs()
    with Host() as s:
        s.install('case "$*" in *--version*) echo fake 1; exit 0;; esac\necho out of order >&2; exit 3\n')
        said = "its engine ended with status 3: out of order"
        s.refuses("BACKEND_UNAVAILABLE", said, "--allow-fallback (allowFallback) is content with native", runtimeClass="gvisor")
        s.refuses("BACKEND_UNAVAILABLE", said)  # auto does not get weaker because something broke
        events = Events(s, "GET", "/v1/events")
        notice = f"the runtime class is native, not gvisor; gvisor: {said}"
        sb = s.gets("native", "gvisor", notice, runtimeClass="gvisor", allowFallback=True, env={"A": "b"})
        told, _, event = next(iter(events))
        events.close()
        check_equal((told, event["sandboxId"], event["details"]),
                    ("SandboxSpawned", sb, {"runtimeClass": "native", "requestedRuntimeClass": "gvisor", "reason": f"gvisor: {said}"}), "event")
        check(notice in s.said(), "log")
        check_equal(s.exec(sb, "sh", "-c", "echo $A")["stdout"], b"b\n", "all else is as it was asked for")
        s.kill("creto-runtimed")
        shown = s.good("GET", f"/v1/sandboxes/{sb}")
        check_equal((shown["runtimeClass"], shown["requestedRuntimeClass"], shown["notices"], shown["spec"]["runtimeClass"]), ("native", "gvisor", [notice], "gvisor"), "kept")
        check_equal(s.exec(sb, "echo", "on")["stdout"], b"on\n", "it goes on")
        listed = s.good("GET", "/v1/sandboxes?runtimeClass=native")["sandboxes"]
        check_equal([x["sandboxId"] for x in listed], [sb], "listed by the class that it has")
        s.good("POST", "/v1/runtimes/native/drain")
        s.refuses("BACKEND_UNAVAILABLE", said, runtimeClass="gvisor", allowFallback=True)  # there is none left
        s.refuses("BACKEND_UNAVAILABLE", "'native' is drained", runtimeClass="native", allowFallback=True)  # nothing comes after it
        s.refuses("INVALID_SPEC", "no runtime class 'nonsense'", runtimeClass="nonsense", allowFallback=True)


@test
def the_same_request_again_is_the_same_sandbox():
    needs()
    with Host() as s:
        key = {"Idempotency-Key": "once"}
        first = s.good("POST", "/v1/sandboxes", {"spec": {}}, headers=key)
        s.good("POST", "/v1/runtimes/gvisor/drain")
        again = s.good("POST", "/v1/sandboxes", {"spec": {}}, headers=key)
        check_equal((again["sandboxId"], again["runtimeClass"]), (first["sandboxId"], "gvisor"), "the same")


@test
def a_pool_has_one_class_for_life():
    needs()
    with Host() as s:
        body = {"id": "p", "template": {"trustLevel": "standard"}, "minReady": 1, "maxReady": 2}
        p = s.good("POST", "/v1/warm-pools", body)
        check_equal((p["runtimeClass"], p["requestedRuntimeClass"], p["notices"]), ("gvisor", "gvisor", []), "class")
        auto = s.good("POST", "/v1/warm-pools", {"id": "auto", "template": {}, "minReady": 0})
        check_equal((auto["runtimeClass"], auto["requestedRuntimeClass"]), ("gvisor", "auto"), "class")
        check(poll(lambda: s.good("GET", "/v1/warm-pools/p")["readyCount"] == 1, 20), "it fills")
        s.good("POST", "/v1/runtimes/gvisor/drain")
        check_equal(s.call("POST", "/v1/warm-pools/p/claim", {}).code, "BACKEND_UNAVAILABLE", "a claim from a drained class")
        check_equal(s.good("POST", "/v1/warm-pools", body)["id"], "p", "the same pool again")
        a = s.call("POST", "/v1/warm-pools", {"id": "q", "template": {"runtimeClass": "gvisor"}})
        check_equal((a.status, a.code), (503, "BACKEND_UNAVAILABLE"), a.body)
        q = s.good("POST", "/v1/warm-pools", {"id": "q", "template": {"runtimeClass": "gvisor", "allowFallback": True}, "minReady": 1, "maxReady": 2})
        notice = ["the runtime class is native, not gvisor; gvisor: it is drained"]
        check_equal((q["runtimeClass"], q["requestedRuntimeClass"], q["notices"]), ("native", "gvisor", notice), "class")
        s.good("POST", "/v1/runtimes/gvisor/enable")
        s.kill("creto-runtimed")
        for name, runtime in (("p", "gvisor"), ("auto", "gvisor"), ("q", "native")):
            got = s.good("GET", f"/v1/warm-pools/{name}")
            check_equal(got["runtimeClass"], runtime, f"{name} after a restart")
        claimed = s.good("POST", "/v1/warm-pools/q/claim", {"runtimeClass": "native"})
        sb = s.good("GET", f"/v1/sandboxes/{claimed['sandboxId']}")
        check_equal((sb["runtimeClass"], sb["requestedRuntimeClass"], sb["notices"]), ("native", "gvisor", notice), "claimed")
        check_equal(s.call("POST", "/v1/warm-pools/q/claim", {"runtimeClass": "gvisor"}).status, 409, "another class")
        # where its engine breaks it makes none, and no others
        s.install("exit 1\n")
        check(not s.classes()["gvisor"]["available"], "it is looked at")
        s.good("POST", "/v1/warm-pools", {"id": "r", "template": {"runtimeClass": "gvisor", "allowFallback": True}, "minReady": 1})
        check_equal(s.good("GET", "/v1/warm-pools/r")["runtimeClass"], "native", "known not to work when the pool is made")


@test
def what_a_class_needs_of_the_host():
    needs()
    config = f"""
[runtime.heavy]
binary = "{CRUN}"
overhead = "1T"
[runtime.picky]
binary = "{CRUN}"
requires = ["/dev/null", "/nonexistent/device"]
"""
    with Host(config=config) as s:
        classes = s.classes()
        check_equal((classes["heavy"]["overheadBytes"], classes["heavy"]["available"]), (1 << 40, True), "heavy")
        check_equal((classes["picky"]["requires"], classes["picky"]["available"]), (["/dev/null", "/nonexistent/device"], False), "picky")
        check("/nonexistent/device is not here" in classes["picky"]["reason"] and "requires" in classes["picky"]["hint"], classes["picky"])
        s.refuses("RESOURCE_EXHAUSTED", "memory", runtimeClass="heavy")
        sb = s.gets("native", "native", None, runtimeClass="native")
        s.terminate(sb)
        a = s.make(runtimeClass="picky", allowFallback=True)
        check_equal((a.json["runtimeClass"], a.json["notices"]), ("gvisor", ["the runtime class is gvisor, not picky; picky: /nonexistent/device is not here"]), "picky")


@test
def settings_that_are_none():
    for config, word in (('[runtime]\ndefault_runtime_class = "nonsense"\n', "no runtime class 'nonsense'"), ('[runtime]\nfallback = ["native", "nonsense"]\n', "no runtime class 'nonsense'"),
                         ('[runtime]\nfallback = "native"\n', "must be an array"), ('[runtime]\nfallback = ["auto"]\n', "no name"), ('[trust]\nstandard = "auto"\n', "or \"none\""),
                         ('[trust]\nstandard = "../x"\n', "or \"none\""), ('[trust]\nhigh = "native"\n', "trust.high is no setting"), ('[runtime.a]\nbinary = "/x"\noverhead = "much"\n', "like \"20M\""),
                         ('[runtime.a]\nbinary = "/x"\noverhead = "2T"\n', "at most 1T"), ('[runtime.a]\nbinary = "/x"\nrequires = ["dev/kvm"]\n', "is not an absolute path"), ('[runtime.a]\nruntime = "runc"\nbinary = "/x"\n', 'are for driver "containerd"'),
                         ('[runtime.a]\nbinary = "/x"\nrequires = ["/1", "/2", "/3", "/4", "/5"]\n', "at most 4"), ('[runtime]\nfallback = ["native", "native", "native", "native", "native", "native", "native", "native", "native"]\n', "at most 8")):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as d:
            with open(f"{d}/c", "w") as f:
                f.write(config)
            p = subprocess.run([RUNTIMED, "--config", f"{d}/c", "--warden-arguments"], capture_output=True, text=True, timeout=20, check=False)
            check(p.returncode != 0 and word in p.stderr, f"{config!r}: {p}")
    p = subprocess.run([RUNTIMED, "--config", "", "--default-runtime-class", "nonsense", "--warden-arguments"], capture_output=True, text=True, timeout=20, check=False)
    check(p.returncode != 0 and "no runtime class 'nonsense'" in p.stderr and "--default-runtime-class" in p.stderr, p)


# ---- the command line ----

def on_terminal(words, env):
    """Its standard error on a terminal: what is written there."""
    ours, theirs = os.openpty()
    p = subprocess.run([CLI, *words], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=theirs, env=env, timeout=60, check=False)
    os.close(theirs)
    said = b""
    while True:
        try:
            chunk = os.read(ours, 4096)
        except OSError:
            break
        if not chunk:
            break
        said += chunk
    os.close(ours)
    check_equal(p.returncode, 0, f"{words}: {said!r}; status")
    return said.decode()


@test
def the_command_line_of_a_service():
    needs()
    with Host(installed=False) as s:
        c = Client(s)
        c.env.pop("CRETO_RUNTIME_CLASS")
        check_equal(c("spawn").stderr, b"", "an agent reads nothing that it can do nothing about")
        said = on_terminal(["spawn"], c.env)
        check("the runtime class is native; gvisor: " in said and "CRETO_RUNTIME_CLASS=native" in said, f"a person is told: {said!r}")
        check_equal(on_terminal(["spawn", "--runtime", "native"], c.env), "", "who has said so knows it")
        check_equal(on_terminal(["spawn"], {**c.env, "CRETO_RUNTIME_CLASS": "native"}), "", "likewise")
        check_equal(c("spawn", "--json", env={"CRETO_RUNTIME_CLASS": "crun"}).stdout.count(b'"runtimeClass":"crun"'), 2, "the variable is the default of --runtime")
        check(b'"runtimeClass":"native"' in c("spawn", "--json", "--runtime", "native", env={"CRETO_RUNTIME_CLASS": "crun"}).stdout, "and nothing more")
        check(b'"runtimeClass":"runc"' in c("spawn", "--json", "--trust", "trusted", env={"CRETO_RUNTIME_CLASS": "crun"}).stdout, "nor against a trust level")
        check(b"no runtime class 'nonsense'" in c("spawn", env={"CRETO_RUNTIME_CLASS": "nonsense"}, code=64).stderr, "a wrong one")
        r = c("spawn", "--runtime", "gvisor", code=69).stderr
        check(b"is not installed" in r and b"--allow-fallback" in r, r)
        r = c("spawn", "--runtime", "gvisor", "--allow-fallback").stderr
        check(b"notice: the runtime class is native, not gvisor; gvisor: " in r, f"what stands in is said to everybody: {r}")
        r = c("--host", f"unix:{s.socket}", "run", "--trust", "standard", "--allow-fallback", "--", "echo", "hi")
        check(r.stdout == b"hi\n" and b"not gvisor" in r.stderr, r)
        check(b"trusted, standard, untrusted or confidential" in c("run", "--trust", "much", "--", "true", code=64).stderr, "a wrong level")
        c("drain", "--runtime", "native")
        check(b"it is drained" in c("spawn", code=69).stderr, "nothing is left")
        c("enable", "--runtime", "native")
        with open(f"{s.top}/t.yaml", "w") as f:
            f.write("trustLevel: trusted\nallowFallback: true\n")
        c("pool", "create", "--id", "p", "--template", f"{s.top}/t.yaml", "--min-ready", "0")
        check(b'"runtimeClass":"runc"' in c("pool", "get", "p", "--json").stdout, "a pool's level")
        c("pool", "claim", "p", "--trust", "standard", code=64)  # a claim has the pool's


@test
def what_a_class_never_keeps_is_told_to_people_alone():
    needs()
    with Host(config=f'[runtime.shim]\nruntime = "{CRUN}"\ndriver = "containerd"\n') as s:  # the driver behind what it decides
        if not s.classes()["containerd"]["available"]:
            skip(s.classes()["containerd"]["reason"])
        c = Client(s)
        check_equal(c("spawn", "--runtime", "containerd").stderr, b"", "a script")
        said = on_terminal(["spawn", "--runtime", "containerd"], c.env)
        check(said.strip() == "creto-runtime: notice: these defaults are weaker here: pids", f"a person: {said!r}")
        check(b"weaker here: pids" in c("spawn", "--runtime", "shim").stderr, "of a class of the operator's nobody has read")


@test
def what_is_missing_is_said_once():
    needs()
    with Host(installed=False) as s:
        classes = s.classes()
        alike = [n for n, r in classes.items() if not r["available"] and n.startswith("kata")]
        if len(alike) < 2:
            skip("Kata Containers are installed")
        table = Client(s).shell("script -qec 'creto-runtime-cli runtimes' /dev/null </dev/null")
        check_equal(table.count("containerd-shim-kata-v2"), 1, table)
        check(", ".join(alike) + ": containerd-shim-kata-v2 is not installed" in table, table)
        check(f"\ngvisor: {s.engine} is not installed" in table.replace("\r", "") and "runtime class '" not in table, table)


@test
def names_are_completed():
    needs()
    if not shutil.which("bash"):
        skip("no bash")
    with Host() as s, tempfile.TemporaryDirectory() as d:
        c = Client(s)
        os.symlink(CLI, f"{d}/creto-runtime")
        for words, wanted in (("drain --runtime", {"native", "crun", "runc", "gvisor", "qemu"}), ("run --runtime", {"gvisor"}), ("spawn --trust", {"trusted", "standard", "untrusted", "confidential"}),
                              ("run", {"--trust", "--allow-fallback", "--runsc-path"})):
            line = ["creto-runtime", *words.split()]
            script = f". <(creto-runtime completion bash); COMP_WORDS=({' '.join(line)} ''); COMP_CWORD={len(line)}; _creto_runtime; echo \"${{COMPREPLY[@]}}\""
            p = subprocess.run(["bash", "-c", script], env={**c.env, "PATH": f"{d}:{os.environ['PATH']}"}, capture_output=True, text=True, timeout=30, check=False)
            check(wanted <= set(p.stdout.split()), f"{words}: {p}")


@test
def the_command_line_without_a_service():
    env = {k: v for k, v in os.environ.items() if k != "CRETO_RUNTIME_CLASS"}
    kernel = os.uname().release
    for user in (False, True):
        if not user and not IS_ROOT:
            continue
        r = run(["uname", "-r"], user=user)
        check_equal((r.code, r.text.strip()), (0, kernel), f"CRETO_RUNTIME_CLASS=native: {r}")
        r = run(["uname", "-r"], "--trust", "confidential", "--allow-fallback", user=user)
        check(r.code == 69 and "'confidential'" in r.notes, r)
        r = run(["true"], "--runtime", "nonsense", "--allow-fallback", user=user)
        check(r.code == 64 and "no runtime class 'nonsense'" in r.notes, r)
        r = run(["true"], "--runtime", "native", "--trust", "standard", user=user)
        check(r.code == 64 and "'gvisor'" in r.notes and "'native'" in r.notes, r)
        r = run(["uname", "-r"], "--trust", "untrusted", "--allow-fallback", user=user)
        check(r.code == 0 and "not kata; kata: " in r.notes, r)
        if shutil.which("runsc") and IS_ROOT:
            r = creto(["run", "--", "uname", "-r"], user, env={"CRETO_RUNTIME_CLASS": ""})
            check_equal((r.code, r.text.strip() == kernel), (0, user), f"auto as {'a user' if user else 'root'}: {r}")
        r = creto(["run", "--runsc-path", "/usr/bin/runsc", "--", "true"], user, env={"CRETO_RUNTIME_CLASS": ""})
        check(user == ("only root may name an engine" in r.notes), r)
        said = next(f["text"] for f in json.loads(creto(["doctor", "--json"], user).text)["findings"] if f["name"] == "runtime-classes")
        names, shim = set(re.split("[,;] ", said)), shutil.which("containerd-shim-runc-v2") and shutil.which("runc")
        check_equal(("native" in names, "gvisor" in names, "containerd" in names), (True, bool(shutil.which("runsc")), bool(shim) and not user), said)
    if not shutil.which("runsc"):
        check("gvisor: runsc is not installed" in on_terminal(["run", "--", "true"], env), "a person is told")
    check_equal(CLASS, {"CRETO_RUNTIME_CLASS": "native"}, "what all other tests run with")


@test
def a_class_that_is_drained_while_an_image_comes():
    """What was asked for before is not made there either: drained to contain an engine, it starts no more."""
    needs()
    hello = os.path.join(BUILD, "bench/bench-hello")
    if not shutil.which("skopeo") or not os.access(hello, os.X_OK):
        skip("no skopeo (apt install skopeo), or bench-hello is not built")
    for more, status, runtime in (({}, 503, None), ({"allowFallback": True}, 201, "native")):
        registry, asked, go_on = Registry(hello), threading.Event(), threading.Event()
        handler = registry.server.RequestHandlerClass

        def give(self, data, kind, then=handler.give):
            asked.set()
            go_on.wait(30)
            then(self, data, kind)
        handler.give = give
        try:
            with Host() as s:
                answers = []
                t = threading.Thread(target=lambda: answers.append(s.make(image=registry.ref, runtimeClass="gvisor", **more)))  # noqa: B023
                t.start()
                check(asked.wait(20), "the image is not asked for")
                s.good("POST", "/v1/runtimes/gvisor/drain")
                go_on.set()
                t.join(60)
                [a] = answers
                check_equal(a.status, status, a.body)
                check("is drained" in a.body.decode(), a.body)
                check(status != 201 or a.json["runtimeClass"] == runtime, a.body)
        finally:
            go_on.set()
            registry.close()


if __name__ == "__main__":
    main()
