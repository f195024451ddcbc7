"""The workers of one pool in one generation: started, listened to, replaced, sent away."""

from __future__ import annotations

import signal
from dataclasses import dataclass
from math import inf
from time import monotonic, time_ns
from typing import TYPE_CHECKING, Final

from gatebridge.serve import channel
from gatebridge.serve.pool import DEATHS_A_WINDOW, LEAVING, PROVEN_S, READY, STARTING
from gatebridge.serve.printed import Printed
from gatebridge.serve.stem import LOAD_FAILED
from gatebridge.serve.waiting import Waiting
from gatebridge.serve.worker_log import DEBUG, ERROR, INFO, WARNING
from gatebridge.settings import calls_at_once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gatebridge.serve.births import Births
    from gatebridge.serve.channel import Message
    from gatebridge.serve.house import House
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.member import Member
    from gatebridge.serve.pool import PoolPlan, View
    from gatebridge.serve.spawn import Death
    from gatebridge.settings import Pool

KILL_S: Final = 1.0  # for a worker to end by itself when its own time is over
QUICK_S: Final = 2.0  # for one that was told to end now
ALONE_S: Final = 5.0  # for one that has closed its channel
_CHUNK = 65_536  # of a dump
_MESSAGES = 64  # of one child in one turn
_TICKS = 8  # of a plan in one turn


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker did not start. load: its application could not be loaded."""

    error: str
    traceback: str = ""
    load: bool = False


class Crew:
    """members by key; stem: what forks them, with preload.

    failure  of the last start that came to nothing
    dirty    something happened that the plan must hear of
    look     when it must be asked anyway
    """

    def __init__(
        self,
        house: House,
        pool: Pool,
        generation: int,
        listeners: list[Listener],
        plan: PoolPlan,
        births: Births,
    ) -> None:
        self.pool = pool
        self.generation = generation
        self.listeners = listeners
        self.plan = plan
        self.routes = births.routes
        self.members: dict[int, Member] = {}
        self.stem: Member | None = None
        self.failure: Failure | None = None
        self.dirty = True
        self.look = inf
        self._grace_s = pool.settings.graceful_timeout + KILL_S
        self._house = house
        self._births = births
        self._printed = Printed(house, pool.name)
        self._waiting = Waiting(house.turns, listeners, lambda: births.inbox_fd, self._touch)
        self._said = {
            "ready": self._ready,
            "failed": self._failed,
            "leaving": self._leaving,
            "idle": self._idle,
            "forked": self._forked,
            "unforked": self._unforked,
        }

    # -- how it stands

    @property
    def over(self) -> bool:
        return not self.members and self.stem is None

    @property
    def healthy(self) -> bool:
        """Whether it serves, or would if somebody asked."""
        if self.plan.mode == "ondemand" and not self.members:
            return not self.plan.failures and not self.plan.paused
        return self.count(READY, LEAVING) > 0

    def count(self, *states: int) -> int:
        return sum([member.state in states for member in self.members.values()])

    @property
    def starting(self) -> bool:
        return self.count(STARTING) > 0 or getattr(self.stem, "state", READY) == STARTING

    # -- what the plan says

    def tick(self, now: float) -> None:
        self.dirty = False
        for _ in range(_TICKS):
            done = self.plan.tick(now, self._views(now), self._pending())
            self.look = done.look
            for key in done.kill:
                self._late(key, now)
            stays = self.count(READY, LEAVING) > len(done.retire) or done.fork > 0
            for key in done.retire:
                if key in self.members:  # no stem; the last one closes the connections it kept
                    self.members[key].drain(now, self._grace_s, last=not stays)
            added = done.fork > 0 and self._add(done.fork, now)
            if not (added or done.kill or any(key in self.members for key in done.retire)):
                self._waiting.tell(done.poll)
                return

    def _views(self, now: float) -> list[View]:
        seen = {} if self.plan.mode == "static" else self._house.views(now)
        found = []
        for member in self.members.values():
            running, threads = 0, calls_at_once(self.pool.settings)
            if (view := seen.get(member.index)) is not None:
                running, threads = len(view.running) + view.queued, view.threads
            member.calm = now if running else member.calm
            found.append(member.view(running, max(1, threads)))
        if self.stem is not None and (self.stem.state == STARTING or not self.stem.wanted):
            found.append(self.stem.view(0, 1))
        return found

    def _late(self, key: int, now: float) -> None:
        member = self.members.get(key) or self.stem
        if member is not None and member.killed:
            member.kill(now)  # a stem had not made it, or not given it to us, when it was first
        elif member is not None:
            what = "did not become ready" if member.state == STARTING else "did not end"
            self._say(WARNING, "late", member, f"killed, it {what} in {now - member.since:.1f} s")
            member.kill(now)

    def _pending(self) -> bool:
        """Whether a connection waits; only pools that grow by need want to know."""
        return self.plan.mode in ("dynamic", "ondemand") and self._waiting.now()

    def _touch(self) -> None:
        self.dirty = True

    # -- starting

    def _add(self, count: int, now: float) -> bool:
        """Fork workers, or what has to be there before. Whether that changed anything."""
        try:
            if not self.pool.settings.preload:
                for _ in range(count):
                    self._enter(self._births.worker(now), now)
            elif self.stem is None:
                self.stem = self._births.stem(now)
                self.plan.forked(now)
                self._listen(self.stem)
            elif self.stem.state != READY:
                return False
            else:
                for _ in range(count):
                    self._enter(self._births.from_stem(self.stem, now), now)
        except OSError as error:  # EAGAIN, ENOMEM, EMFILE: the others go on serving
            self.plan.failed(now)
            text = f"fork.failed pool {self.pool.name}: {error}; it is tried again"
            self._house.log.line(ERROR, text)
        return True

    def _enter(self, member: Member, now: float) -> None:
        self.members[member.key] = member
        self.plan.forked(now)
        self._house.of(self.pool.name).forks += 1
        self._listen(member)

    def _listen(self, member: Member) -> None:
        turns = self._house.turns
        turns.watch(member.sock.fileno(), lambda: self._heard(member))
        if member.dump >= 0:
            turns.watch(member.dump, lambda: self._dumped(member))
        self._printed.listen(member)

    def adopt(self, member: Member) -> None:
        """One that was there before this supervisor."""
        self.members[member.key] = member
        self._listen(member)

    # -- what children say

    def _heard(self, member: Member) -> None:
        self.dirty = True
        try:
            for _ in range(_MESSAGES):
                message = channel.receive(member.sock)
                what = channel.text_of(message, "say")
                obey = self._said.get(what) or self._house.said.get(what)
                if obey is not None:
                    obey(member, message, monotonic())
                self._follow(member, message.get("files"))
        except BlockingIOError:
            return
        except (EOFError, OSError):  # it ends, or has closed what is not its own
            self._house.turns.forget(member.sock.fileno())
            member.deadline = min(member.deadline, monotonic() + ALONE_S)

    def _ready(self, member: Member, message: Message, now: float) -> None:
        if member.state == STARTING:
            self._say(DEBUG, "ready", member, f"after {now - member.since:.2f} s")
            member.become(READY, now)
            member.calm = now
            self.plan.ready()
            self._births.tell_not_loaded()
            if member is not self.stem:
                self._house.greet(member)

    def _failed(self, member: Member, message: Message, now: float) -> None:
        error, trace = channel.text_of(message, "error"), channel.text_of(message, "traceback")
        self.failure = Failure(error, trace, True)
        for line in (error, *trace.splitlines()):
            self._say(ERROR, "failed", member, line)

    def _leaving(self, member: Member, message: Message, now: float) -> None:
        if member.state != READY or member is self.stem:
            return
        why = channel.text_of(message, "why")
        self._say(INFO, "leaving", member, why)
        if why == "timeout":  # it takes no more, so there is nothing to wait for
            member.drain(now, channel.seconds_of(message, "grace"))
        else:
            member.become(LEAVING, now)

    def _idle(self, member: Member, message: Message, now: float) -> None:
        member.calm = now

    def _follow(self, member: Member, files: object) -> None:
        if isinstance(files, list) and self.pool.settings.reload:  # said with whatever it says
            since_ns = time_ns() - int((monotonic() - member.since) * 1e9)
            self._house.files(self.pool.name, list(map(str, files)), since_ns)

    def _forked(self, stem: Member, message: Message, now: float) -> None:
        pid = message.get("pid")
        for member in self._asked(stem, message):
            if isinstance(pid, int):
                member.pid = pid
                if member.killed:
                    member.kill(now)

    def _unforked(self, stem: Member, message: Message, now: float) -> None:
        for member in self._asked(stem, message):
            error = channel.text_of(message, "error")
            self._say(ERROR, "not forked", member, f"{error}; it is tried again")
            self.plan.failed(now)
            self._forget(member)

    def _asked(self, stem: Member, message: Message) -> list[Member]:
        """Who a stem was asked for, by the slot that its answer names."""
        slot = message.get("slot") if stem is self.stem else None
        return [one for one in self.members.values() if one.index == slot and not one.pid]

    def _dumped(self, member: Member) -> None:
        data = member.read(member.dump, _CHUNK)
        if data:
            self._house.dumped(member.pid, data)
        elif data is not None:
            self._house.turns.forget(member.dump)

    # -- how they end

    def ended(self, death: Death, now: float) -> bool:
        """Whether it was one of ours."""
        if self.stem is not None and self.stem.pid == death.pid:
            self._stem_ended(self.stem, death, now)
            return True
        if self.stem is not None:
            self._heard(self.stem)  # it may be a worker whose pid we have not heard yet
        for member in self.members.values():
            if member.pid == death.pid:
                self._worker_ended(member, death, now)
                return True
        return False

    def _worker_ended(self, member: Member, death: Death, now: float) -> None:
        self._last_words(member)
        view = self._house.board.clear(member.index) if member.index >= 0 else None
        if view is not None:
            self._house.of(self.pool.name).add(view)
        held = (view.rss if view else 0) or death.peak
        bad = member.wanted or member.killed
        level = WARNING if death.status else INFO if bad else DEBUG
        self._say(level, "ended", member, f"{death}, with {held >> 20} MiB{_hint(member, death)}")
        proven = now - member.ready_at >= PROVEN_S
        if member.wanted and not proven:
            self._blame(death, now)
        if member.wanted and death.status and (proven or death.signal) and self.plan.died(now):
            text = f"{DEATHS_A_WINDOW} workers died within a minute, the last of {death}"
            self._house.log.line(ERROR, f"pool.alarm {self.pool.name}: {text}")
        self._house.gone(member.pid)
        self._forget(member)

    def _stem_ended(self, stem: Member, death: Death, now: float) -> None:
        self._last_words(stem)
        self._say(WARNING if stem.wanted else DEBUG, "ended", stem, str(death))
        never_made = [member for member in self.members.values() if not member.pid]
        if stem.wanted and (stem.state == STARTING or never_made):
            self._blame(death, now)
        for member in never_made:
            self._forget(member)
        self.stem = None
        self._close(stem)

    def _last_words(self, member: Member) -> None:
        self._heard(member)
        self._dumped(member)
        self._printed.end(member)

    def _blame(self, death: Death, now: float) -> None:
        """A start came to nothing."""
        self.plan.failed(now)
        load = death.status == LOAD_FAILED
        if self.failure is None or not load:  # one that could not load has said why
            self.failure = Failure(f"a worker ended with {death}", "", load)

    def _forget(self, member: Member) -> None:
        del self.members[member.key]
        self._births.free(member.index)
        self._close(member)

    def _close(self, member: Member) -> None:
        for fd in (member.sock.fileno(), member.dump, member.output):
            self._house.turns.forget(fd)
        member.close()

    # -- what the supervisor wants

    def drain(self, now: float, kept: list[Listener]) -> None:
        """Another generation has taken over, and listens at what was kept."""
        self._retire(now)
        last = any(listener not in kept for listener in self.listeners)
        for member in self.members.values():
            member.drain(now, self._grace_s, last)

    def stop(self, now: float) -> None:
        """Finish what is under way and what is queued; nobody else is there to take it."""
        serving = self.count(READY, LEAVING)
        if not (serving or self.starting) and self.plan.mode != "held" and self._waiting.now():
            self._add(1, now)  # somebody was let in, and who drains listens no more
        self._retire(now)
        for member in self.members.values():
            if serving and member.state == STARTING:
                member.quit(now, QUICK_S)
            else:
                member.drain(now, self._grace_s, last=True)

    def quit(self, now: float) -> None:
        self._retire(now)
        if self.stem is not None:
            self.stem.kill(now)
        for member in self.members.values():
            member.quit(now, QUICK_S)

    def _retire(self, now: float) -> None:
        """No new workers from now on."""
        self.plan.mode = "held"
        self.dirty = True
        self._waiting.tell(False)
        if self.stem is not None and self.stem.wanted:
            self.stem.wanted = False
            self.stem.deadline = now + QUICK_S
            if self.stem.state == STARTING or not self.stem.tell({"do": "quit"}):
                self.stem.signal(signal.SIGTERM)

    def tell(self, message: Message, fds: Sequence[int] = ()) -> None:
        for member in self.members.values():
            member.tell(message, fds)
        if self.stem is not None:
            self.stem.tell(message, fds)

    def close(self) -> None:
        """Nobody is left."""
        self._births.close()

    def _say(self, level: int, what: str, member: Member, text: str) -> None:
        who = "stem" if member is self.stem else "worker"
        of = f"pool {self.pool.name} generation {self.generation} pid {member.pid or '?'}"
        self._house.log.line(level, f"{who}.{what} {of}: {text}")


def _hint(member: Member, death: Death) -> str:
    if death.signal == signal.SIGKILL and not member.killed:
        return "; somebody's kill -9, or the kernel was out of memory"
    return ""
