#!/usr/bin/python3
"""Metrics as promtool wants them, the alert rules by their own tests, and a Prometheus that scrapes the service: what is provoked fires."""
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "lib"))
from harness import IS_ROOT, check, check_equal, main, poll, skip, test  # noqa: E402
from service import Service, free_port, wait  # noqa: E402

DEPLOY = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "deploy")
ATTACK = "import ctypes; ctypes.CDLL(None).syscall(321, 0, 0, 0)"  # bpf


def needs(*programs):
    if not IS_ROOT:
        skip("the service is started by root")
    for p in programs:
        if not shutil.which(p):
            skip(f"{p} is not installed (Debian: prometheus)")


def promtool(*arguments, stdin=None):
    r = subprocess.run(["promtool", *arguments], input=stdin, capture_output=True, timeout=60)
    return r.returncode, (r.stdout + r.stderr).decode()


@test
def rules_do_what_they_say():
    needs("promtool")
    check_equal(promtool("check", "rules", os.path.join(DEPLOY, "alerts.yml"))[0], 0, "check rules")
    status, said = promtool("test", "rules", os.path.join(DEPLOY, "alerts.test.yml"))
    check_equal(status, 0, said)


@test
def metrics_are_clean():
    needs("promtool")
    with Service() as s:
        sb = s.spawn(labels={"odd": 'qu"ote\\'})
        s.exec(sb, "true")
        s.exec(sb, "python3", "-c", ATTACK)
        s.call("GET", "/nothing")
        text = s.good("GET", "/metrics")
        check(f'creto_runtime_syscall_violations_total{{sandbox_id="{sb}"}} 1'.encode() in text, text[:3000])
        for name in ("container_cpu_time_seconds_total", "container_memory_usage_bytes", "creto_runtime_sandbox_pids", "container_network_io_bytes_total"):
            check(f'{name}{{sandbox_id="{sb}"'.encode() in text, f"{name} of the sandbox")
        status, said = promtool("check", "metrics", stdin=text)
        check_equal((status, said.strip()), (0, ""), "promtool check metrics")
        s.good("POST", "/v1/warm-pools", {"id": "clean", "template": {}, "minReady": 2, "maxReady": 3})
        wait(lambda: s.good("GET", "/v1/warm-pools/clean")["readyCount"] == 2, 60, "the pool is full")
        s.good("POST", "/v1/warm-pools/clean/claim")
        text = s.good("GET", "/metrics")
        for line in (b'creto_runtime_pool_min_ready{pool_id="clean"} 2', b'creto_runtime_pool_claimed_count{pool_id="clean"} 1',
                     b'creto_runtime_pool_claims_per_minute{pool_id="clean"} 1', b'creto_runtime_pool_cold_claims_total{pool_id="clean"} 0',
                     b'creto_runtime_pool_failures_total{pool_id="clean"} 0', b'creto_runtime_pool_claim_latency_seconds_count{pool_id="clean"} 1',
                     b'creto_runtime_pool_claim_latency_seconds_bucket{pool_id="clean",le="+Inf"} 1'):
            check(b"\n" + line + b"\n" in text, line)
        for name in ("ready", "warming"):
            check(f'creto_runtime_pool_{name}_count{{pool_id="clean"}} '.encode() in text, name)
        status, said = promtool("check", "metrics", stdin=text)
        check_equal((status, said.strip()), (0, ""), "promtool check metrics, with a pool")
        s.good("DELETE", "/v1/warm-pools/clean")
        check(b'pool_id="clean"' not in s.good("GET", "/metrics"), "figures of a pool that is gone")
        s.terminate(sb)
        check(f'container_memory_usage_bytes{{sandbox_id="{sb}"'.encode() not in s.good("GET", "/metrics"), "figures of what is gone")
        check(sb.encode() in s.good("GET", "/metrics"), "a violation is still told after the end of its sandbox")


def quickened():
    """The rules with seconds for minutes."""
    with open(os.path.join(DEPLOY, "alerts.yml")) as f:
        text = f.read()
    text = re.sub(r"for: \d+m", "for: 1s", text)
    return re.sub(r"(\[|offset )\d+m", r"\g<1>20s", text)


class Prometheus:
    def __init__(self, service, key):
        self.port, top = free_port(), os.path.join(service.top, "prometheus")
        os.mkdir(top)
        with open(top + "/alerts.yml", "w") as f:
            f.write(quickened())
        with open(top + "/prometheus.yml", "w") as f:
            json.dump({"global": {"scrape_interval": "1s", "evaluation_interval": "1s"}, "rule_files": [top + "/alerts.yml"], "scrape_configs": [
                {"job_name": "creto-runtime", "authorization": {"credentials": key}, "static_configs": [{"targets": [f"127.0.0.1:{service.port}"]}]}]}, f)
        self.log = open(top + "/log", "wb")
        self.process = subprocess.Popen(["prometheus", f"--config.file={top}/prometheus.yml", f"--storage.tsdb.path={top}/data",
                                         f"--web.listen-address=127.0.0.1:{self.port}"], stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)

    def ask(self, path):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/api/v1/{path}", timeout=5) as r:
                return json.load(r)["data"]
        except OSError:
            return {}

    def firing(self):
        return {a["labels"]["alertname"]: a["labels"] for a in self.ask("alerts").get("alerts", []) if a["state"] == "firing"}

    def close(self):
        self.process.terminate()
        self.process.wait(timeout=20)
        self.log.close()


@test
def what_is_provoked_fires():
    needs("prometheus", "promtool")
    with Service(tcp=True) as s:
        key = s.good("POST", "/v1/api-keys", {"name": "prometheus", "role": "operator"})["key"]
        p = Prometheus(s, key)
        try:
            wait(lambda: any(t["health"] == "up" for t in p.ask("targets").get("activeTargets", [])), 30, "Prometheus scrapes the service")
            check_equal(p.firing(), {}, "alerts while all is well")
            sb = s.spawn()
            s.exec(sb, "python3", "-c", ATTACK)
            wait(lambda: p.firing().get("SyscallViolation", {}).get("sandbox_id") == sb, 30, "SyscallViolation fires")
            # a pool that cannot be filled: nothing listens at that registry
            s.good("POST", "/v1/warm-pools", {"id": "short", "template": {"image": "127.0.0.1:1/none:1"}, "minReady": 1, "maxReady": 2})
            wait(lambda: p.firing().get("PoolBelowMinimum", {}).get("pool_id") == "short", 30, "PoolBelowMinimum fires")
            s.good("DELETE", "/v1/warm-pools/short")
            wait(lambda: "PoolBelowMinimum" not in p.firing(), 30, "and is over when the pool is gone")
            # spawns that take more than 3 s: a warden that is stopped for so long
            os.kill(s.warden, signal.SIGSTOP)
            slow = [threading.Thread(target=s.call, args=("POST", "/v1/sandboxes", {})) for _ in range(8)]
            for t in slow:
                t.start()
            time.sleep(3.5)
            os.kill(s.warden, signal.SIGCONT)
            for t in slow:
                t.join()
            wait(lambda: p.firing().get("SpawnLatencyHigh", {}).get("backend") == "native", 30, "SpawnLatencyHigh fires")
            for _ in range(5):
                s.kill("creto-warden")
                time.sleep(1.5)
            wait(lambda: "WardenRestarts" in p.firing(), 30, "WardenRestarts fires")
            os.kill(s.process.pid, signal.SIGKILL)
            s.process.wait()
            wait(lambda: "CretoRuntimeDown" in p.firing(), 30, "CretoRuntimeDown fires")
            s.process.stdout.close()
            s.start()
            check(poll(lambda: "CretoRuntimeDown" not in p.firing(), 30), "and is over when it is back")
        finally:
            p.close()


if __name__ == "__main__":
    main()
