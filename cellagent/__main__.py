"""The command `cellagent`: `run` on a cell, `serve` alone on a unix socket."""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
from collections.abc import Coroutine, Sequence
from pathlib import Path

from cellagent import daemon
from cellagent.kernel import oci
from cellagent.network import cni, pod_network
from cellagent.runtime.settings import RuntimeSettings
from cellwire.faults import Fault
from hostkit import syscalls
from hostkit.resolving_loop import ResolvingLoop

CNI = cni.Plugins()
KEPT_BYTES = 4 << 20
"""Of freed memory: streams are passed on in pieces that are larger than what malloc keeps by itself."""


def main(argv: Sequence[str] | None = None) -> int:
    """Read the command line, run until a signal. 1 where it could not."""
    asked = _parser().parse_args(argv)
    logging.basicConfig(
        level=logging.DEBUG if asked.verbose else logging.INFO,
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    logging.getLogger("hpack").setLevel(logging.WARNING)
    work = daemon.cell(asked.root, asked.state, power_off=asked.power_off) if asked.command == "run" else _serve(asked)
    try:
        syscalls.keep_freed(KEPT_BYTES)
        with asyncio.Runner(loop_factory=ResolvingLoop) as runner:
            runner.run(work)
    except Fault as fault:
        sys.stderr.write(f"cellagent: {fault}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def _serve(asked: argparse.Namespace) -> Coroutine[None, None, None]:
    settings = RuntimeSettings(
        root=asked.root,
        state=asked.state,
        bridge=asked.bridge,
        subnet=asked.subnet,
        oci_runtime=asked.oci_runtime,
        plugins=cni.Plugins(asked.cni_config, tuple(asked.cni_programs or CNI.programs)),
    )
    return daemon.serve(asked.socket, settings, mirrors=asked.mirror, pinned=asked.pin, certificates=asked.certificates)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cellagent", description="A light container runtime, at home in a cell.")
    parser.add_argument("--verbose", action="store_true", help="say more")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="boot as a cell: read user-data, join, serve the controller")
    run.add_argument("--power-off", action="store_true", help="end this machine where the cell has no home any more")
    serve = commands.add_parser("serve", help="serve CRI on a unix socket, without a controller")
    serve.add_argument("--socket", type=Path, default=Path("/run/chinampa/cri.sock"), help="where to listen")
    serve.add_argument(
        "--mirror",
        action="append",
        default=[],
        metavar="HOST=URL",
        help="fetch images of a registry from here first; may be given more than once",
    )
    serve.add_argument(
        "--certificates",
        type=Path,
        metavar="DIR",
        help="folder with a folder for each registry host: ca.crt, client.cert, client.key",
    )
    serve.add_argument(
        "--pin",
        action="append",
        default=[],
        metavar="IMAGE",
        help="tell a kubelet to leave this image alone when it makes room; may be given more than once",
    )
    serve.add_argument(
        "--oci-runtime", default="", choices=("", *oci.NAMES), help="what makes containers; the better one that works"
    )
    serve.add_argument("--bridge", default=pod_network.BRIDGE, help="bridge of the pods' network")
    serve.add_argument("--subnet", default=pod_network.BRIDGE_SUBNET, help="addresses of the pods' network")
    serve.add_argument(
        "--cni-config",
        type=Path,
        default=CNI.configuration,
        metavar="DIR",
        help="where a CNI configuration is looked for; without one the pods have the bridge",
    )
    serve.add_argument(
        "--cni-programs",
        type=Path,
        action="append",
        metavar="DIR",
        help=f"where CNI plugins are, in place of {' and '.join(map(str, CNI.programs))}; may be given more than once",
    )
    for command in (run, serve):
        command.add_argument("--root", type=Path, default=Path("/var/lib/chinampa"), help="images and layers")
        command.add_argument("--state", type=Path, default=Path("/run/chinampa"), help="records and sockets")
    return parser


if __name__ == "__main__":
    sys.exit(main())
