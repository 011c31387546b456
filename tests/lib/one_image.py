"""An image of one file, and the registry on loopback that has it and nothing else: a running service takes images from nowhere else."""
import gzip
import hashlib
import http.server
import io
import json
import platform
import tarfile
import threading

ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}
KIND = "application/vnd.oci.image"


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


def layer(files):
    """{path: bytes, or (bytes, mode, uid), or the target of a link}"""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for path, what in files.items():
            entry = tarfile.TarInfo(path)
            if isinstance(what, str):
                entry.type, entry.linkname = tarfile.SYMTYPE, what
                tar.addfile(entry)
                continue
            data, entry.mode, entry.uid = what if isinstance(what, tuple) else (what, 0o755, 0)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))
    return out.getvalue()


def image(files):
    """(manifest, {digest: blob})"""
    blobs = {}

    def blob(data, media):
        blobs[digest_of(data)] = data
        return {"mediaType": f"{KIND}.{media}", "digest": digest_of(data), "size": len(data)}

    tar = layer(files)
    config = {"architecture": ARCHITECTURES.get(platform.machine(), platform.machine()), "os": "linux", "config": {},
              "rootfs": {"type": "layers", "diff_ids": [digest_of(tar)]}}
    manifest = {"schemaVersion": 2, "mediaType": f"{KIND}.manifest.v1+json", "config": blob(json.dumps(config).encode(), "config.v1+json"),
                "layers": [blob(gzip.compress(tar, mtime=0), "layer.v1.tar+gzip")]}
    return json.dumps(manifest).encode(), blobs


class Registry:
    """The read side of the distribution protocol for one image, /hello, on a thread of its own. Skopeo is needed to pull it."""

    def __init__(self, program, port=0, files=None):
        with open(program, "rb") as f:
            manifest, blobs = image({"hello": f.read(), **(files or {})})

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                what, _, name = self.path.rpartition("/")
                if self.path == "/v2/":
                    self.give(b"{}", "application/json")
                elif what == "/v2/hello/manifests" and name in ("1", digest_of(manifest)):
                    self.give(manifest, f"{KIND}.manifest.v1+json")
                elif what == "/v2/hello/blobs" and name in blobs:
                    self.give(blobs[name], "application/octet-stream")
                else:
                    self.send_error(404)

            do_HEAD = do_GET

            def give(self, data, kind):
                self.send_response(200)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(data)))
                self.send_header("Docker-Content-Digest", digest_of(data))
                self.end_headers()
                if self.command == "GET":
                    self.wfile.write(data)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()
        self.port = self.server.server_port
        self.ref = f"127.0.0.1:{self.port}/hello:1"

    def close(self):
        """Once or twice."""
        if not self.thread.is_alive():
            return
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()
