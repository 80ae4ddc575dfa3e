"""A small image built on the spot from Debian's static busybox, and pushed to a registry by its HTTP API.

The image is a web server on port 8080 that also writes a line a second to its log.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import tarfile
import urllib.request
from functools import cache
from pathlib import Path

START = b"""#!/bin/sh
httpd -p 8080 -h /www
n=0
while :; do
    n=$((n + 1))
    echo "line $n: $(date -u +%H:%M:%S) still here"
    sleep 1
done
"""
APPLETS = tuple(
    "sh httpd date sleep cat ls ps echo id hostname stty tty wget true yes head dd md5sum nc touch rm mkdir env "
    "seq ip tar nslookup".split()
)
PAGE = b"<h1>Hello from a cell</h1>\n"
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
LAYER = "application/vnd.oci.image.layer.v1.tar+gzip"


def layer(busybox: Path) -> bytes:
    """The image's one layer, as an uncompressed tar."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for name, mode in (("bin", 0o755), ("www", 0o755), ("etc", 0o755), ("tmp", 0o1777)):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, mode
            tar.addfile(folder)
        files = {
            "bin/busybox": (busybox.read_bytes(), 0o755),
            "bin/start": (START, 0o755),
            "www/index.html": (PAGE, 0o644),
            "etc/passwd": (b"root:x:0:0:root:/:/bin/sh\nweb:x:1000:1000:web:/:/bin/sh\n", 0o644),
        }
        for name, (data, mode) in files.items():
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), mode
            tar.addfile(entry, io.BytesIO(data))
        for applet in APPLETS:
            link = tarfile.TarInfo(f"bin/{applet}")
            link.type, link.linkname = tarfile.SYMTYPE, "busybox"
            tar.addfile(link)
    return buffer.getvalue()


def push(
    registry: str,
    repository: str,
    tag: str,
    busybox: Path = Path("/bin/busybox"),
    command: tuple[str, ...] = ("/bin/start",),
    architecture: str = "amd64",
) -> None:
    """Build the image and push it to `registry`, an address like "http://10.0.0.1:5000"."""
    diff_id, packed = _packed(busybox)
    config = {
        "architecture": architecture,
        "os": "linux",
        "config": {"Cmd": list(command), "Env": ["PATH=/bin"]},
        "rootfs": {"type": "layers", "diff_ids": [diff_id]},
    }
    config_text = json.dumps(config).encode()
    manifest = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": {"mediaType": CONFIG, **_blob(registry, repository, config_text)},
        "layers": [{"mediaType": LAYER, **_blob(registry, repository, packed)}],
    }
    url = f"{registry}/v2/{repository}/manifests/{tag}"
    _send("PUT", url, json.dumps(manifest).encode(), MANIFEST)


@cache
def _packed(busybox: Path) -> tuple[str, bytes]:
    """The layer's diff ID and its packed bytes: packed once in a process, quickly rather than as small as can be."""
    plain = layer(busybox)
    return _digest(plain), gzip.compress(plain, 1, mtime=0)


def _blob(registry: str, repository: str, data: bytes) -> dict[str, object]:
    place = _send("POST", f"{registry}/v2/{repository}/blobs/uploads/", b"", "application/octet-stream")
    separator = "&" if "?" in place else "?"
    _send("PUT", f"{place}{separator}digest={_digest(data)}", data, "application/octet-stream")
    return {"digest": _digest(data), "size": len(data)}


def _send(method: str, url: str, data: bytes, kind: str) -> str:
    request = urllib.request.Request(url, data=data, method=method, headers={"Content-Type": kind})
    with urllib.request.urlopen(request, timeout=30) as reply:
        return str(reply.headers.get("Location", ""))


def _digest(data: bytes) -> str:
    return "sha256:" + hashlib.sha256(data).hexdigest()
