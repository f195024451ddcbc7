"""One configuration at work: a crew for each pool."""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatebridge.serve import spawn
from gatebridge.serve.births import Births
from gatebridge.serve.crew import QUICK_S, Crew
from gatebridge.serve.pool import READY, STARTING, PoolPlan
from gatebridge.serve.privileges import plan_privileges
from gatebridge.settings import Pool, Settings, worker_count

if TYPE_CHECKING:
    from gatebridge.serve.crew import Failure
    from gatebridge.serve.house import House
    from gatebridge.serve.listener import Listener
    from gatebridge.serve.privileges import Privileges
    from gatebridge.serve.reexec import Heritage
    from gatebridge.settings import Configuration


class Generation:
    """number: the first is 1; listeners: by pool.

    raises  ConfigError
    """

    def __init__(
        self,
        house: House,
        configuration: Configuration,
        listeners: dict[str, list[Listener]],
        number: int,
    ) -> None:
        self.number = number
        self.configuration = configuration
        self.listeners = listeners
        self.crews: list[Crew] = []
        becoming = [_privileges(pool, house.folder) for pool in configuration.pools]
        boards = house.routes.boards(configuration)
        for pool, privileges in zip(configuration.pools, becoming, strict=True):
            mine, routes = listeners[pool.name], boards[pool.name]
            births = Births(house, pool, number, mine, privileges, routes)
            self.crews.append(Crew(house, pool, number, mine, _plan(pool, number), births))

    @property
    def over(self) -> bool:
        return all(crew.over for crew in self.crews)

    @property
    def serves(self) -> bool:
        """Each pool has somebody who accepts, or will have when one asks."""
        return all(crew.count(READY) >= min(1, crew.plan.first) for crew in self.crews)

    @property
    def complete(self) -> bool:
        """Each pool has all that it starts with."""
        return all(crew.count(READY) >= crew.plan.first for crew in self.crews)

    @property
    def failure(self) -> Failure | None:
        """Of the first start that came to nothing."""
        return next((crew.failure for crew in self.crews if crew.failure is not None), None)

    @property
    def hopeless(self) -> Failure | None:
        """Why it will never serve: a pool's application cannot be loaded, or nobody is left."""
        for crew in self.crews:
            failure = crew.failure
            if failure is not None and not crew.count(READY):
                if failure.load or not crew.starting:
                    return failure
        return None

    def open(self) -> list[Listener]:
        return [listener for some in self.listeners.values() for listener in some]

    def withdraw(self, now: float, kept: list[Listener]) -> None:
        """It shall not take over: who serves already finishes, who starts ends."""
        for crew in self.crews:
            for member in crew.members.values():
                if member.state == STARTING:
                    member.quit(now, QUICK_S)
            crew.drain(now, kept)

    def close(self) -> None:
        for crew in self.crews:
            crew.close()


def heirs(house: House, configuration: Configuration, heritage: Heritage) -> list[Crew]:
    """Crews of workers that another program left; they serve until they are told to drain."""
    known = {pool.name: pool for pool in configuration.pools}
    found = []
    for name, members in heritage.workers.items():
        pool = known.get(name) or Pool(name, Settings(), ())
        mine, number = heritage.listeners, heritage.generation
        privileges = _privileges(pool, house.folder)
        births = Births(house, pool, number, mine, privileges, None)
        crew = Crew(house, pool, number, mine, PoolPlan("held", 0), births)
        for member in members:
            if spawn.is_child(member.pid):
                crew.adopt(member)
            else:
                member.close()
        found.append(crew)
    return found


def _plan(pool: Pool, number: int) -> PoolPlan:
    settings = pool.settings
    # A reload proves the new code by one worker where nobody would be started.
    start = 1 if settings.pm == "ondemand" and number > 1 else 0
    return PoolPlan(
        settings.pm,
        worker_count(settings.workers),
        (settings.min_spare_servers, settings.max_spare_servers),
        settings.process_idle_timeout,
        start,
    )


def _privileges(pool: Pool, folder: str) -> Privileges:
    settings = pool.settings
    return plan_privileges(
        user=settings.user,
        group=settings.group,
        umask=settings.umask,
        chdir=settings.chdir,
        env=settings.env,
        env_file=settings.env_file,
        rlimit=settings.rlimit,
        nice=settings.nice,
        start_folder=folder,
    )
