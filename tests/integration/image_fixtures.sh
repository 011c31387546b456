#!/bin/bash
# Makes images to test with, good and evil, in the folder given as $1. It wants python3, and busybox-static, umoci and skopeo for those of the good
# ones that should not be our own idea of an image. No network, no root.
#
#   layout/           OCI layout: bb (made by umoci), layers (whiteouts over three layers), config, plain, zstd, twice, arch, usrmerge
#   bb.oci.tar        oci-archive of bb           bb.docker.tar   docker-archive of it, called bb:1   (both made by skopeo)
#   rootfs/           the same as a directory
#   evil/NAME/        OCI layouts with the one tag x
#   evil/expect       NAME CODE, one a line: the error that each must end with; "ok" where what is evil must come to nothing
set -euo pipefail
[ $# = 1 ] || { echo "usage: $0 FOLDER" >&2; exit 64; }
mkdir -p "$1"
cd "$1"
busybox=${BUSYBOX:-$(command -v busybox || true)}
[ -n "$busybox" ] || { echo "$0: no busybox (apt install busybox-static)" >&2; exit 69; }

mkdir -p rootfs/{bin,etc,tmp,proc,sys,dev,usr/bin,root,var}
cp "$busybox" rootfs/bin/busybox
for tool in sh ls cat echo id env pwd stat sleep mkdir touch rm ln find head true false wc grep test printf uname; do
        ln -sf busybox rootfs/bin/$tool
done
printf 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\napp:x:1000:1000::/tmp:/bin/sh\n' > rootfs/etc/passwd
printf 'root:x:0:\nnogroup:x:65534:\napp:x:1000:\n' > rootfs/etc/group
printf 'fixture\n' > rootfs/etc/fixture
chmod 1777 rootfs/tmp
chmod 755 . rootfs

python3 - "$PWD" <<'PYTHON'
import gzip, hashlib, io, json, os, shutil, subprocess, sys, tarfile

TOP = sys.argv[1]
ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
sha = lambda b: hashlib.sha256(b).hexdigest()


class Layout:
    def __init__(self, path):
        self.path, self.index = path, []
        os.makedirs(f"{path}/blobs/sha256", exist_ok=True)
        if os.path.exists(f"{path}/index.json"):
            self.index = json.load(open(f"{path}/index.json"))["manifests"]

    def blob(self, data, media, name=None):
        name = name or sha(data)
        with open(f"{self.path}/blobs/sha256/{name}", "wb") as f:
            f.write(data)
        return {"mediaType": media, "digest": f"sha256:{name}", "size": len(data)}

    def tag(self, desc, name):
        self.index.append(dict(desc, annotations={"org.opencontainers.image.ref.name": name}))
        with open(f"{self.path}/index.json", "w") as f:
            json.dump({"schemaVersion": 2, "manifests": self.index}, f)
        with open(f"{self.path}/oci-layout", "w") as f:
            f.write('{"imageLayoutVersion":"1.0.0"}')

    def image(self, tag, tars, config=None, pack="gzip", arch=ARCH, diff_ids=None, layer_blob=None, edit=None, raw_manifest=None):
        descs = []
        for t in tars:
            data = {"gzip": lambda: gzip.compress(t, 6, mtime=0), "plain": lambda: t, "zstd": lambda: zstd(t)}[pack]()
            media = "application/vnd.oci.image.layer.v1.tar" + {"gzip": "+gzip", "plain": "", "zstd": "+zstd"}[pack]
            descs.append(layer_blob(self, data, media) if layer_blob else self.blob(data, media))
        conf = json.dumps({"architecture": arch, "os": "linux", "config": config or {"Cmd": ["sh"]},
                           "rootfs": {"type": "layers", "diff_ids": diff_ids or [f"sha256:{sha(t)}" for t in tars]}}).encode()
        manifest = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                    "config": self.blob(conf, "application/vnd.oci.image.config.v1+json"), "layers": descs}
        if edit:
            edit(manifest)
        data = raw_manifest(manifest) if raw_manifest else json.dumps(manifest).encode()
        self.tag(self.blob(data, "application/vnd.oci.image.manifest.v1+json"), tag)


def zstd(data):
    return subprocess.run(["zstd", "-q", "-c"], input=data, stdout=subprocess.PIPE, check=True).stdout


def tar(*entries, fmt=tarfile.PAX_FORMAT):
    """Entries: (name, kind, extra): kind f (content), d (mode), l (target), h (target), c (major, minor), p."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=fmt) as t:
        for name, kind, extra, *rest in entries:
            i = tarfile.TarInfo(name)
            i.mtime, i.mode, data = 1600000000, 0o644, None
            if kind == "f":
                data = extra if isinstance(extra, bytes) else extra.encode()
                i.size = len(data)
            elif kind == "d":
                i.type, i.mode = tarfile.DIRTYPE, extra or 0o755
            elif kind in "lh":
                i.type, i.linkname, i.mode = (tarfile.SYMTYPE if kind == "l" else tarfile.LNKTYPE), extra, 0o777
            elif kind == "c":
                i.type, (i.devmajor, i.devminor) = tarfile.CHRTYPE, extra
            elif kind == "b":
                i.type, (i.devmajor, i.devminor) = tarfile.BLKTYPE, extra
            elif kind == "p":
                i.type = tarfile.FIFOTYPE
            for key, value in (rest[0] if rest else {}).items():
                setattr(i, key, value)
            t.addfile(i, io.BytesIO(data) if data is not None else None)
    return out.getvalue()


def base():
    out = io.BytesIO()

    def root(i):
        i.uid = i.gid = 0
        i.uname = i.gname = ""
        i.mtime = 1600000000
        return i
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as t:
        t.add(f"{TOP}/rootfs", arcname=".", filter=root)
    return out.getvalue()


BASE = base()
good = Layout(f"{TOP}/layout")

# Whiteouts over three layers. What must be seen is in the comments.
good.image("layers", [
    BASE,
    tar(("opt", "d", 0o755), ("opt/stays", "f", "1\n"), ("opt/goes", "f", "1\n"), ("opt/dir", "d", 0o755), ("opt/dir/old", "f", "1\n"),
        ("opt/gone", "d", 0o755), ("opt/gone/x", "f", "1\n"), ("opt/again", "d", 0o755), ("opt/again/old", "f", "1\n"),
        ("opt/perm", "f", "1\n", {"uid": 1000, "gid": 1000, "mode": 0o4755}), ("opt/twin", "h", "opt/stays")),
    tar(("opt", "d", 0o755), ("opt/.wh.goes", "f", ""),                                        # goes: gone
        ("opt/dir", "d", 0o755), ("opt/dir/.wh..wh..opq", "f", ""), ("opt/dir/new", "f", "2\n"),  # dir: only new
        ("opt/.wh.gone", "f", ""),                                                              # gone: gone
        ("opt/.wh.again", "f", ""), ("opt/again/fresh", "f", "2\n")),                            # again: only fresh
    tar(("opt", "d", 0o755), ("opt/goes", "f", "3\n")),                                        # goes: back, "3"
])
good.image("config", [BASE], {"Env": ["PATH=/bin", "GREETING=hello world", "EMPTY="], "WorkingDir": "/tmp", "User": "app", "Entrypoint": ["/bin/sh", "-c"],
                              "Cmd": ["echo $GREETING"]})
good.image("plain", [BASE], pack="plain")
if shutil.which("zstd"):
    good.image("zstd", [BASE], pack="zstd")
extra = tar(("extra", "f", "x\n"))
good.image("twice", [BASE, extra, tar((".wh.extra", "f", "")), extra])
good.image("usrmerge", [BASE, tar(("usr/lib", "d", 0o755), ("lib", "l", "usr/lib"), ("lib/thing", "f", "merged\n"), ("pipe", "p", None))])
# An index of several machines below the tag.
good.image("arch-own", [BASE])
own = good.index[-1]
good.image("arch-other", [extra], arch="sparc64")
other = good.index[-1]
inner = {"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [
    {"mediaType": other["mediaType"], "digest": other["digest"], "size": other["size"], "platform": {"os": "linux", "architecture": "sparc64"}},
    {"mediaType": own["mediaType"], "digest": own["digest"], "size": own["size"], "platform": {"os": "linux", "architecture": ARCH}}]}
good.tag(good.blob(json.dumps(inner).encode(), inner["mediaType"]), "arch")

expect = []


def evil(name, code, tars, **how):
    Layout(f"{TOP}/evil/{name}").image("x", tars, **how)
    expect.append((name, code))


def tampered(layout, data, media):
    d = layout.blob(data, media)
    with open(f"{layout.path}/blobs/{d['digest'].replace(':', '/')}", "r+b") as f:
        f.seek(len(data) // 2)
        f.write(bytes([data[len(data) // 2] ^ 0x55]))
    return d


def lying(layout, data, media):
    return dict(layout.blob(data, media), size=len(data) - 1)


def missing(layout, data, media):
    return {"mediaType": media, "digest": "sha256:" + "ab" * 32, "size": 3}


OUT = "/tmp/creto-evil-was-here"
small = tar(("a", "f", "a"))
evil("tampered", "IMAGE_NOT_FOUND", [BASE], layer_blob=tampered)
evil("wrong-diffid", "IMAGE_NOT_FOUND", [BASE], diff_ids=["sha256:" + "0" * 64])
evil("size-lie", "IMAGE_NOT_FOUND", [small], layer_blob=lying)
evil("missing-blob", "IMAGE_NOT_FOUND", [small], layer_blob=missing)
evil("traversal", "INVALID_SPEC", [tar(("../../../../../../tmp/creto-evil-was-here", "f", "x"))])
evil("traversal-deep", "INVALID_SPEC", [tar(("a/b/../../../x", "f", "x"))])
evil("symlink-dir", "INVALID_SPEC", [tar(("evil", "l", "/tmp"), ("evil/creto-evil-was-here", "f", "x"))])
evil("symlink-climb", "INVALID_SPEC", [tar(("d", "d", 0), ("d/up", "l", "../../../../../../tmp"), ("d/up/creto-evil-was-here", "f", "x"))])
evil("symlink-chain", "INVALID_SPEC", [tar(("a", "l", "b"), ("b", "l", "c"), ("c", "l", ".."), ("a/creto-evil-was-here", "f", "x"))])
evil("symlink-loop", "INVALID_SPEC", [tar(("a", "l", "b"), ("b", "l", "a"), ("a/x", "f", "x"))])
evil("symlink-dangling", "INVALID_SPEC", [tar(("a", "l", "nothing"), ("a/x", "f", "x"))])
evil("symlink-proc", "INVALID_SPEC", [tar(("p", "l", "/proc/self/root"), ("p/tmp/creto-evil-was-here", "f", "x"))])
evil("symlink-whiteout", "INVALID_SPEC", [tar(("evil", "l", "/tmp"), ("evil/.wh.x", "f", ""))])
evil("symlink-opaque", "INVALID_SPEC", [tar(("evil", "l", "/tmp"), ("evil/.wh..wh..opq", "f", ""))])
evil("symlink-file", "ok", [tar(("link", "l", OUT), ("link", "f", "replaces the link"))])
evil("absolute", "ok", [tar((OUT, "f", "inside"))])
evil("hardlink-out", "INVALID_SPEC", [tar(("x", "h", "../../../../../../etc/passwd"))])
evil("hardlink-absolute", "INVALID_SPEC", [tar(("x", "h", "/etc/passwd"))])
evil("hardlink-symlink", "INVALID_SPEC", [tar(("e", "l", "/etc"), ("x", "h", "e/passwd"))])
evil("hardlink-to-symlink", "ok", [tar(("s", "l", "/etc/passwd"), ("x", "h", "s"))])
evil("hardlink-dir", "INVALID_SPEC", [tar(("d", "d", 0), ("x", "h", "d"))])
evil("hardlink-over-itself", "INVALID_SPEC", [tar(("d", "d", 0), ("d/f", "f", "x"), ("d", "h", "d/f"))])
evil("device", "INVALID_SPEC", [tar(("dev", "d", 0), ("dev/mem", "c", (1, 1)))])
evil("device-whiteout", "INVALID_SPEC", [tar(("w", "c", (0, 0)))])
evil("device-block", "INVALID_SPEC", [tar(("sda", "b", (8, 0)))])
evil("whiteout-dot", "INVALID_SPEC", [tar((".wh..", "f", ""))])
evil("whiteout-dotdot", "INVALID_SPEC", [tar(("a", "d", 0), ("a/.wh...", "f", ""))])
evil("root-file", "INVALID_SPEC", [tar((".", "f", "x"))])
evil("file-parent", "INVALID_SPEC", [tar(("a", "f", "x"), ("a/b", "f", "x"))])
evil("deep", "INVALID_SPEC", [tar(("/".join(["d"] * 300) + "/x", "f", "x"))])
evil("long-name", "INVALID_SPEC", [tar(("n" * 300, "f", "x"))])
evil("long-path", "INVALID_SPEC", [tar(("/".join(["p" * 200] * 30), "f", "x"))])
evil("xattrs", "ok", [tar(("d", "d", 0o755, {"pax_headers": {"SCHILY.xattr.user.overlay.opaque": "y", "SCHILY.xattr.user.good": "yes",
                                                             "SCHILY.xattr.trusted.overlay.opaque": "y", "SCHILY.xattr.security.capability": "x"}}))])
evil("xattr-many", "RESOURCE_EXHAUSTED", [tar(("d", "d", 0o755, {"pax_headers": {f"SCHILY.xattr.user.n{i}": "v" for i in range(100)}}))])
evil("pax-huge", "INVALID_SPEC", [tar(("x", "f", "x", {"pax_headers": {"comment": "c" * (3 << 20)}}))])
evil("truncated", "INVALID_SPEC", [tar(("x", "f", "x" * 100000))[:50000]])
evil("garbage", "INVALID_SPEC", [os.urandom(5000)])
evil("not-gzip", "INVALID_SPEC", [small], layer_blob=lambda l, d, m: l.blob(d[:10] + os.urandom(50), m))
evil("bomb", "RESOURCE_EXHAUSTED", [tar(("zeros", "f", b"\0" * (300 << 20)))])
huge = tarfile.TarInfo("huge")
huge.size = 1 << 45
evil("bomb-size", "RESOURCE_EXHAUSTED", [huge.tobuf(tarfile.GNU_FORMAT) + b"\0" * 10240])
sparse = bytearray(tarfile.TarInfo("sparse").tobuf(tarfile.GNU_FORMAT))
sparse[156:157] = b"S"
sparse[386:398] = sparse[398:410] = b"00000000000\0"          # one piece: offset 0, length 0
sparse[483:495] = b"\x80" + b"\0" * 3 + (1 << 45).to_bytes(8, "big")  # real size
sparse[148:156] = b" " * 8
sparse[148:156] = b"%06o\0 " % sum(sparse)
evil("bomb-sparse", "RESOURCE_EXHAUSTED", [bytes(sparse) + b"\0" * 10240])
evil("many-layers", "RESOURCE_EXHAUSTED", [tar((f"f{i}", "f", "x")) for i in range(130)])
evil("layer-count", "INVALID_SPEC", [small, extra], diff_ids=[f"sha256:{sha(small)}"])
evil("manifest-huge", "RESOURCE_EXHAUSTED", [small], raw_manifest=lambda m: json.dumps(dict(m, annotations={"x": "y" * (5 << 20)})).encode())
evil("manifest-deep", "INVALID_SPEC", [small], raw_manifest=lambda m: b"[" * 100000)
evil("manifest-both", "INVALID_SPEC", [small], raw_manifest=lambda m: json.dumps({**{k: v for k, v in m.items() if k != "mediaType"}, "manifests": []}).encode())
evil("manifest-negative", "INVALID_SPEC", [small], edit=lambda m: m["layers"][0].update(size=-1))
evil("manifest-digest", "INVALID_SPEC", [small], edit=lambda m: m["layers"][0].update(digest="sha256:../../../../etc/passwd"))
evil("media-type", "NOT_SUPPORTED", [small], edit=lambda m: m["layers"][0].update(mediaType="application/vnd.example.disk"))
evil("artifact", "INVALID_SPEC", [small], edit=lambda m: m["config"].update(mediaType="application/vnd.example.chart"))
evil("other-machine", "NOT_SUPPORTED", [small], arch="sparc64")
evil("env-nul", "INVALID_SPEC", [small], config={"Env": ["A=b\u0000c"]})
evil("env-type", "INVALID_SPEC", [small], config={"Env": "A=b"})
evil("cmd-many", "RESOURCE_EXHAUSTED", [small], config={"Cmd": ["x"] * 5000})
evil("cmd-large", "RESOURCE_EXHAUSTED", [small], config={"Cmd": ["x" * 100000] * 20})
with open(f"{TOP}/evil/expect", "w") as f:
    f.writelines(f"{n} {c}\n" for n, c in expect)
PYTHON

# The same root by other people's tools, so that not all is our own idea of an image.
rootless=()
[ "$(id -u)" = 0 ] || rootless=(--rootless)
if command -v umoci >/dev/null; then
        umoci new --image layout:bb
        umoci unpack "${rootless[@]}" --image layout:bb bundle 2>/dev/null
        cp -a rootfs/. bundle/rootfs/
        umoci repack --image layout:bb bundle
        umoci config --image layout:bb --config.env PATH=/bin --config.cmd sh --config.workingdir /
        rm -rf bundle
        if command -v skopeo >/dev/null; then
                skopeo --insecure-policy copy -q oci:layout:bb oci-archive:bb.oci.tar:bb
                skopeo --insecure-policy copy -q oci:layout:bb docker-archive:bb.docker.tar:localhost/bb:1
        fi
fi
chmod -R a+rX .
