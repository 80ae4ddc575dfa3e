"""What stays resident must stay light."""

from __future__ import annotations

import subprocess
import sys


def said_by(program: str) -> str:
    """What a process of its own says that runs this."""
    environment = {"PYTHONPATH": ":".join(sys.path)}
    done = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_the_resident_part_loads_neither_aiohttp_nor_cryptography() -> None:
    program = (
        "import sys, cellagent.images.room;"
        "print([m for m in ('aiohttp', 'cryptography', 'zstandard', 'isal', 'yarl') if m in sys.modules])"
    )
    assert said_by(program) == "[]"


def test_the_unpacking_process_loads_no_event_loop() -> None:
    program = (
        "import sys, cellagent.images.unpack; print([m for m in ('aiohttp', 'asyncio', 'grpclib') if m in sys.modules])"
    )
    assert said_by(program) == "[]"


def test_the_pulling_process_reads_the_machines_authorities_only_once_it_speaks_tls() -> None:
    program = (
        "import ssl, cellagent.images.pull_process, gc;"
        "print([each.cert_store_stats()['x509'] for each in gc.get_objects() if isinstance(each, ssl.SSLContext)])"
    )
    assert set(said_by(program).strip("[]").split(", ")) == {"0"}
