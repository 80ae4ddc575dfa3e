"""moto's server: one for all tests of a process, as moto keeps its account in global variables, which a test resets."""

from __future__ import annotations

import atexit
import logging
from functools import cache

from moto import backends
from moto.core import responses, utils
from moto.moto_server.threaded_moto_server import ThreadedMotoServer


@cache
def moto_url() -> str:
    """Where it listens until this process ends. The first call starts it, which blocks."""
    _look_once()
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    atexit.register(server.stop)
    host, port = server.get_host_and_port()
    return f"http://{host}:{port}"


def _look_once() -> None:
    """Have moto list its own folder, and the methods of its classes, once and not for each request."""
    modules = tuple(backends.list_of_moto_modules())
    backends.list_of_moto_modules = lambda: modules
    responses.__dict__["method_names_from_class"] = cache(utils.method_names_from_class)
