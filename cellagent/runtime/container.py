"""Containers: started, stopped, removed; and what becomes of them when they end by themselves.

Start has conmon and the OCI runtime make what `creation` laid out, so that a command that is not there is a container
that could not be started, with the runtime's own words. Each step's record is written before the step.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import msgspec

from cellagent.kernel import cgroups
from cellagent.runtime import bundle, conmon, declared_volumes, views
from cellagent.runtime.creation import ContainerCreation
from cellagent.runtime.exits import ContainerExit, Exits, hears, is_runtimes
from cellagent.runtime.ledger import ContainerEntry, Phase
from cellagent.runtime.machine import ExecTarget, Machine
from cellagent.runtime.remains import Remains
from cellwire.cri.v1 import runtime_pb2 as cri
from cellwire.faults import Fault, Kind
from hostkit import pids, programs

log = logging.getLogger(__name__)
SHORTEST_LOOK = 0.02
LONGEST_LOOK = 0.25
# After SIGKILL a process is gone at once, unless the kernel holds it (a dead network file system).
KILL_SECONDS = 20.0
START_DEADLINE = 60.0
# The exit code of a container that could not be started, as other runtimes have it.
START_ERROR_CODE = 128


class RuntimeContainers:
    """The owner of containers."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
        self._exits = Exits(machine.settings, machine.inotify, self._ended)
        self.remains = Remains(machine)
        self.creation = ContainerCreation(machine, self.remains)

    def close(self) -> None:
        """Look away; the containers run on."""
        self._exits.close()

    async def start(self, container_id: str) -> None:
        """Have conmon make it, then let it run. Raises Fault with the runtime's words; it then counts as exited."""
        record = self._machine.ledger.container(container_id)
        await self._machine.flights.join(f"StartContainer {record.id}", lambda: self._start(record.id))

    async def stop(self, container_id: str, grace: float) -> None:
        """Its stop signal, then after `grace` seconds SIGKILL to all in it. The unknown counts as stopped."""
        record = self._machine.ledger.find_container(container_id)
        if record is not None and record.phase is Phase.STARTING:
            record = await self._once_started(record.id)
        if record is None or record.phase is not Phase.RUNNING:
            return
        number = views.signal_number(record.stop_signal)
        if grace > 0:
            try:
                async with asyncio.timeout(grace):
                    if await self._signal(record, number):
                        await self._exits.ended(record.id)
            except TimeoutError:
                log.info("container %s did not end within %g s", record.id[:13], grace)
        await self._kill(record)

    async def remove(self, container_id: str) -> None:
        """End it and forget it. Its log stays. The unknown counts as removed."""
        if (record := self._machine.ledger.find_container(container_id)) is not None:
            await self._machine.flights.join(f"RemoveContainer {record.id}", lambda: self._remove(record.id))

    async def ended(self, container_id: str) -> int:
        """The exit code, once there is one."""
        await self._exits.ended(container_id)
        record = self._machine.ledger.find_container(container_id)
        return record.exit_code if record else START_ERROR_CODE

    def place(self, container_id: str) -> ExecTarget:
        """A running container, as exec and attach need it. Raises Fault."""
        record = self._machine.ledger.container(container_id)
        name = record.parsed().metadata.name
        if record.phase is not Phase.RUNNING:
            raise Fault(Kind.PRECONDITION, f"container {name}", f"it is not running but {record.phase.value}")
        settings = self._machine.settings
        return ExecTarget(
            container_id=record.id,
            name=name,
            runtime=self._machine.runtime.path,
            runtime_state=settings.oci,
            bundle=settings.bundle(record.id),
            pid=record.pid,
            pid_started=record.pid_started,
        )

    async def recover(self) -> None:
        """After a start: watch what runs, and settle what ended or was being started in between."""
        for known in self._machine.ledger.containers():
            record = await self._settle_start(known) if known.phase is Phase.STARTING else known
            if record.phase is Phase.RUNNING:
                pid = record.pid if pids.started(record.pid) == record.pid_started else 0
                self._exits.add(record.id, pid, conmon.same(record.conmon_pid, record.id))
            elif record.phase is Phase.EXITED and (self._machine.settings.oci / record.id).exists():
                self._machine.flights.spawn(self.remains.clean_up(record), f"clean-up of container {record.id[:13]}")
        self.remains.forget_strangers()
        self.creation.spare.prepare()

    async def _once_started(self, container_id: str) -> ContainerEntry | None:
        """The record of a container that is being started, as that has ended."""
        with suppress(Fault):
            # Told to whoever has asked for the start.
            await self.start(container_id)
        return self._machine.ledger.find_container(container_id)

    async def _start(self, container_id: str) -> None:
        machine = self._machine
        record = machine.ledger.container(container_id)
        config = record.parsed()
        if record.phase is not Phase.CREATED:
            raise Fault(
                Kind.PRECONDITION, f"container {config.metadata.name}", f"it is {record.phase.value}, not created"
            )
        sandbox = machine.ledger.sandbox(record.sandbox_id)
        if sandbox.phase is not Phase.READY:
            cause = f"its sandbox {sandbox.id[:13]} is {sandbox.phase.value}"
            raise Fault(Kind.PRECONDITION, f"container {config.metadata.name}", cause, "run the pod anew")
        record = machine.ledger.put_container(msgspec.structs.replace(record, phase=Phase.STARTING))
        try:
            if record.log_path:
                Path(record.log_path).parent.mkdir(parents=True, exist_ok=True)
            await self._fill_volumes(record)
            pid, conmon_pid = await conmon.launch(self._charge(record, config))
            record = machine.ledger.put_container(
                msgspec.structs.replace(record, pid=pid, pid_started=pids.started(pid), conmon_pid=conmon_pid)
            )
            await self._let_run(record, config.metadata.name)
            record = msgspec.structs.replace(record, phase=Phase.RUNNING, started_at=time.time_ns())
            machine.ledger.put_container(record)
        except Fault as fault:
            await self._failed(record, fault.cause)
            raise
        except OSError as error:
            await self._failed(record, str(error))
            mend = "look at this machine's disk"
            raise Fault(Kind.BROKEN, f"container {config.metadata.name}", str(error), mend) from error
        machine.emit(cri.CONTAINER_STARTED_EVENT, container_id, record.sandbox_id)
        self._exits.add(container_id, pid, conmon_pid)
        machine.flights.spawn(asyncio.to_thread(self.creation.spare.prepare), "folders of the next container")

    async def _settle_start(self, record: ContainerEntry) -> ContainerEntry:
        """A start that an agent's end has cut off: done where the container was let run, else as never asked for."""
        machine = self._machine
        charge = self._charge(record, record.parsed())
        if record.pid and conmon.let_run(charge):
            machine.emit(cri.CONTAINER_STARTED_EVENT, record.id, record.sandbox_id)
            return machine.ledger.put_container(
                msgspec.structs.replace(record, phase=Phase.RUNNING, started_at=time.time_ns())
            )
        # Written first: with the OCI runtime's state goes what tells that it was never let run.
        record = machine.ledger.put_container(msgspec.structs.replace(record, pid=0, pid_started=0, conmon_pid=0))
        try:
            async with asyncio.timeout(KILL_SECONDS):
                await conmon.abandon(charge)
            await self.remains.clean_up(record)
        except (TimeoutError, Fault) as error:
            words = str(error) or f"what an earlier agent began of it lives {KILL_SECONDS:g} s after SIGKILL"
            return self._never_ran(record, words)
        return machine.ledger.put_container(msgspec.structs.replace(record, phase=Phase.CREATED))

    async def _fill_volumes(self, record: ContainerEntry) -> None:
        """Copy what the image has in its volumes: at the start, and again where that is repeated."""
        settings = self._machine.settings
        layers, spec = settings.layers(record.id), bundle.read_spec(settings.bundle(record.id))
        await declared_volumes.fill(layers / "rootfs", declared_volumes.among(layers, spec["mounts"]))

    def _charge(self, record: ContainerEntry, config: cri.ContainerConfig) -> conmon.ConmonCharge:
        settings = self._machine.settings
        return conmon.ConmonCharge(
            container_id=record.id,
            name=config.metadata.name,
            runtime=self._machine.runtime.path,
            runtime_state=settings.oci,
            bundle=settings.bundle(record.id),
            exits=settings.exits,
            log_path=record.log_path,
            terminal=config.tty,
            stdin=config.stdin,
            stdin_once=config.stdin_once,
        )

    async def _let_run(self, record: ContainerEntry, name: str) -> None:
        argv = [str(self._machine.runtime.path), "--root", str(self._machine.settings.oci), "start", record.id]
        done = await programs.run(argv, deadline=START_DEADLINE)
        if done.returncode:
            raise Fault(Kind.BROKEN, f"container {name}", conmon.plain_words(done.words), reason="StartError")

    async def _failed(self, record: ContainerEntry, words: str) -> None:
        """It could not be started: nothing of it runs, and its record says why."""
        await self.remains.clean_up(record)
        self._never_ran(record, words)

    def _never_ran(self, record: ContainerEntry, words: str) -> ContainerEntry:
        (self._machine.settings.exits / record.id).unlink(missing_ok=True)
        ended = {"phase": Phase.EXITED, "exit_code": START_ERROR_CODE, "reason": "StartError", "message": words}
        ended |= {"started_at": 0, "finished_at": time.time_ns(), "pid": 0}
        failed = self._machine.ledger.put_container(msgspec.structs.replace(record, **ended))
        self._machine.emit(cri.CONTAINER_STOPPED_EVENT, record.id, record.sandbox_id)
        return failed

    async def _signal(self, record: ContainerEntry, number: int) -> bool:
        """Send the signal as soon as the container's first process is its own: runc's would end by it, with a code of
        its own. False where it is gone.

        The kernel drops a signal for which the first process of a PID namespace has no handler, unless that blocks it
        (signal(7)): one that is stopped while it still starts would otherwise live to the end of its grace, so it is
        sent the signal again once it can hear it.
        """
        await _until(lambda: not is_runtimes(record.pid))
        deaf = not hears(record.pid, number)
        if not self._exits.send(record.id, number):
            return False
        if deaf:
            await _until(lambda: hears(record.pid, number))
            self._exits.send(record.id, number)
        return True

    async def _kill(self, record: ContainerEntry) -> None:
        if self._machine.ledger.container(record.id).phase is not Phase.RUNNING:
            return
        self._exits.send(record.id, signal.SIGKILL)
        group = cgroups.ControlGroup(record.cgroup)
        try:
            async with asyncio.timeout(KILL_SECONDS):
                group.kill()
                await self._exits.ended(record.id)
        except TimeoutError as error:
            name = record.parsed().metadata.name
            raise Fault(Kind.TIMEOUT, f"container {name}", f"it lives {KILL_SECONDS:g} s after SIGKILL") from error

    def _ended(self, ended: ContainerExit) -> None:
        record = self._machine.ledger.find_container(ended.container_id)
        if record is None or record.phase is not Phase.RUNNING:
            return
        oom = ended.oom_killed or cgroups.ControlGroup(record.cgroup).usage().oom_kills > 0
        reason, message = views.ending(ended.code, oom_killed=oom, known=ended.known)
        record = self._machine.ledger.put_container(
            msgspec.structs.replace(
                record,
                phase=Phase.EXITED,
                exit_code=ended.code,
                reason=reason,
                message=message,
                finished_at=max(ended.at or time.time_ns(), record.started_at),
            )
        )
        self._machine.emit(cri.CONTAINER_STOPPED_EVENT, record.id, record.sandbox_id)
        self._machine.flights.spawn(self.remains.clean_up(record), f"clean-up of container {record.id[:13]}")

    async def _remove(self, container_id: str) -> None:
        record = self._machine.ledger.find_container(container_id)
        if record is not None and record.phase is Phase.STARTING:
            record = await self._once_started(record.id)
        if record is None:
            return
        if record.phase is Phase.RUNNING:
            await self._kill(record)
        await self.remains.clear(record)
        self._machine.emit(cri.CONTAINER_DELETED_EVENT, record.id, record.sandbox_id)


async def _until(ready: Callable[[], bool]) -> None:
    pause = SHORTEST_LOOK
    while not ready():
        await asyncio.sleep(pause)
        pause = min(pause * 2, LONGEST_LOOK)
