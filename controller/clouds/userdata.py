"""User-data: what an instance is told at its first boot: where home is, whose certificate to trust, and a join token.

Pure text. It holds no key, is the same for every instance of a launch, runs under plain sh, and carries its facts
as one line of JSON in a comment, so that the agent reads them without running anything.
"""

from __future__ import annotations

import gzip
import re
import zlib

import msgspec
from msgspec import UNSET, UnsetType

from cellwire.faults import Fault, Kind

LIMIT_BYTES = 16 * 1024  # what EC2 accepts, before base64
MARK = "#chinampa "
_GZIP = b"\x1f\x8b"
_UNPACKED_LIMIT = 1 << 20
_PLAIN = re.compile(r"[!-~]+")  # one line stays one line, whatever a reader takes for its end
_FINGERPRINT = re.compile(r"sha256:[0-9a-f]{64}")


class UserData(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The facts in the script. `controllers` are "host:port"; `ca` is "sha256:" and the hex digest of the CA's DER."""

    version: int = 1
    controllers: tuple[str, ...]
    ca: str
    token: str
    agents: dict[str, str] | UnsetType = UNSET
    """SHA-256 of the agent's bundle by architecture, for images that have no agent. Unset where nobody needs it."""


# For a stock image: the bundle comes from the controller and is known by its hash; nothing else is fetched.
# Who gets none says so where the cloud shows it, and costs nothing further. Python is cloud-init's own.
_FETCH = """\
say() { echo "chinampa: $1" | tee /dev/console >&2; }
fetched() {
python3 - "$1" 2>/run/chinampa-fetch <<'PYTHON'
import hashlib, json, platform, random, socket, ssl, subprocess, sys, time
line = next(line for line in open(sys.argv[1]) if line.startswith("#chinampa "))
facts = json.loads(line[10:])
name = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
wanted = facts["agents"].get(name) or sys.exit(f"the controller has no agent for {name}")
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.set_alpn_protocols([f"chinampa-agent-{name}/1"])
until, why = time.monotonic() + 300, ""
while time.monotonic() < until:
    wrong = 0
    for address in facts["controllers"]:
        host, _, port = address.rpartition(":")
        try:
            plain = socket.create_connection((host.strip("[]"), int(port)), 20)
            digest, came = hashlib.sha256(), 0
            secure = context.wrap_socket(plain, suppress_ragged_eofs=False)
            with secure as taken, open("/run/chinampa-agent", "wb") as file:
                while chunk := taken.recv(262144):
                    came += len(chunk)
                    digest.update(chunk)
                    file.write(chunk)
        except OSError as error:
            why = f"{address}: {error}"
            continue
        if digest.hexdigest() == wanted:
            subprocess.run(["tar", "-xzf", "/run/chinampa-agent", "-C", "/"], check=True)
            sys.exit(0)
        if not came:
            why = f"{address}: it has no place for another that asks"
            continue
        why, wrong = f"{address}: what it gives is not the agent that the user-data names", wrong + 1
    if wrong == len(facts["controllers"]):
        break
    time.sleep(random.uniform(0.2, 3))
sys.exit(why)
PYTHON
}
if ! command -v cellagent >/dev/null 2>&1; then
    if fetched "$0"; then
        rm -f /run/chinampa-agent
        ln -sf /opt/chinampa/bin/cellagent /opt/chinampa/libexec/* /usr/local/bin/
        mkdir -p /etc/systemd/networkd.conf.d
        printf '[Network]\\nManageForeignRoutingPolicyRules=no\\nManageForeignRoutes=no\\n' \\
            >/etc/systemd/networkd.conf.d/chinampa.conf
    else
        say "this instance cannot get its agent: $(tail -n 1 /run/chinampa-fetch); powering off"
        sync; sleep 5; poweroff || poweroff -f
        exit 1
    fi
fi
"""
# Under systemd the agent is a unit of its own; elsewhere this script stays and starts it again. KillMode=process and
# Delegate=yes, because containers outlive the agent that started them. The console is what the cloud shows of an
# instance that was refused and powered itself off.
_SCRIPT = """\
#!/bin/sh
{facts}
CHINAMPA_USER_DATA_AT=$(date +%s.%N)
export CHINAMPA_USER_DATA_AT
{fetch}if [ -d /run/systemd/system ] && command -v systemd-run >/dev/null 2>&1; then
    exec systemd-run --unit=cellagent -p Restart=always -p RestartSec=1 -p StartLimitIntervalSec=0 \\
        -p KillMode=process -p Delegate=yes -p OOMScoreAdjust=-900 \\
        -p StandardOutput=journal+console -p StandardError=journal+console \\
        --setenv=CHINAMPA_USER_DATA_AT="$CHINAMPA_USER_DATA_AT" --setenv=PATH="$PATH" \\
        "$(command -v cellagent || echo /usr/bin/cellagent)" run --power-off
fi
while :; do
    cellagent run --power-off
    echo "cellagent ended with status $?; starting it again in a second" >&2
    sleep 1
done
"""


def render(facts: UserData) -> str:
    """The script that boots a cell. Raises Fault INVALID for facts that no agent could use."""
    _check(facts)
    line = MARK + msgspec.json.encode(facts).decode()
    text = _SCRIPT.format(facts=line, fetch=_FETCH if facts.agents else "")
    if len(text.encode()) >= LIMIT_BYTES:
        raise _invalid(f"it has {len(text.encode())} bytes, {LIMIT_BYTES} are allowed", "name fewer controllers")
    return text


def compress(text: str) -> bytes:
    """The script as gzip, equal for equal text; cloud-init and the local cloud unpack it."""
    return gzip.compress(text.encode(), mtime=0)


def parse(text: str | bytes) -> UserData:
    """Read back what `render` wrote, plain or compressed. Raises Fault INVALID."""
    for line in _plain(text).splitlines():
        if line.startswith(MARK):
            try:
                facts = msgspec.json.decode(line.removeprefix(MARK), type=UserData)
            except msgspec.DecodeError as error:
                raise _invalid(f"its facts cannot be read: {error}") from error
            _check(facts)
            return facts
    raise _invalid(f"it has no line that begins with {MARK.strip()!r}", "boot the instance from a launch of ours")


def _plain(text: str | bytes) -> str:
    if isinstance(text, str):
        return text
    if text.startswith(_GZIP):
        unpacker = zlib.decompressobj(wbits=31)
        try:
            text = unpacker.decompress(text, _UNPACKED_LIMIT)
        except zlib.error as error:
            raise _invalid(f"it is broken gzip: {error}") from error
        if unpacker.unconsumed_tail or not unpacker.eof:
            raise _invalid("it is cut off, or unpacks to more than 1 MiB")
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise _invalid("it is not UTF-8 text") from error


def _check(facts: UserData) -> None:
    if facts.version != 1:
        raise _invalid(f"it has version {facts.version}, version 1 is known", "boot a newer cell image")
    if not facts.controllers:
        raise _invalid("it names no controller")
    for address in facts.controllers:
        host, colon, port = address.rpartition(":")
        if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise _invalid(f"the controller {address!r} is not host:port")
    if not _FINGERPRINT.fullmatch(facts.ca):
        raise _invalid("its ca is not sha256: and 64 hex digits")
    if not facts.token:
        raise _invalid("it has no join token")
    if not all(re.fullmatch("[0-9a-f]{64}", digest) for digest in (facts.agents or {}).values()):
        raise _invalid("its hash of an agent is not 64 hex digits")
    if not all(_PLAIN.fullmatch(word) for word in (facts.token, *facts.controllers, *(facts.agents or {}))):
        raise _invalid("its token or an address has other signs than printable ASCII")


def _invalid(cause: str, mend: str = "") -> Fault:
    return Fault(Kind.INVALID, "user-data", cause, mend)
