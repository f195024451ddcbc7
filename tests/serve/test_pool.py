"""How many workers: a table of what a pool sees and what it does, on a clock of numbers."""

from math import inf

import pytest

from gatebridge.serve.pool import (
    BOOT_S,
    CALM_LOOK_S,
    DEATHS_A_WINDOW,
    DRAINING,
    FORKS_A_WINDOW,
    LEAVING,
    LOOK_S,
    PROVEN_S,
    READY,
    STARTING,
    WINDOW_S,
    Actions,
    PoolPlan,
    View,
)

NOW = 1000.0


def workers(text: str, threads: int = 1) -> list[View]:
    """One letter a worker: s starting, i idle, b busy, h half busy, l leaving, L leaving and
    busy, d draining. The first is number 1 and the oldest."""
    states = {"s": STARTING, "l": LEAVING, "L": LEAVING, "d": DRAINING}
    running = {"b": threads, "L": threads, "h": threads // 2}
    return [
        View(at + 1, states.get(letter, READY), NOW - 60 + at, running.get(letter, 0), threads)
        for at, letter in enumerate(text)
    ]


def plan(mode: str, most: int, low: int = 1, high: int = 2, idle_s: float = 100.0, start: int = 0):
    return PoolPlan(mode, most, (low, high), idle_s, start)


ROWS = [
    # name, plan, workers, a connection waits, fork, retire, poll
    ("static: all at the start", plan("static", 4), "", False, 4, (), False),
    ("static: those that start count", plan("static", 4), "iis", False, 1, (), False),
    ("static: complete", plan("static", 4), "iibs", False, 0, (), False),
    ("static: who waits changes nothing", plan("static", 2), "bb", True, 0, (), False),
    ("static: one too many goes, an idle one", plan("static", 2), "bib", False, 0, (2,), False),
    ("static: of the idle ones the oldest", plan("static", 2), "iii", False, 0, (1,), False),
    ("static: busy ones go too", plan("static", 1), "bb", False, 0, (1,), False),
    ("static: who drains is not counted", plan("static", 2), "dddi", False, 1, (), False),
    ("static: a replacement first", plan("static", 2), "li", False, 1, (), False),
    ("static: the replacement starts", plan("static", 2), "lis", False, 0, (), False),
    ("static: it is ready, the old goes", plan("static", 2), "lii", False, 0, (1,), False),
    ("static: busy and leaving goes as well", plan("static", 2), "Lii", False, 0, (1,), False),
    ("static: few are replaced at once", plan("static", 8), "llllllll", False, 2, (), False),
    ("static: one of each ready", plan("static", 8), "llllllllii", False, 0, (1, 2), False),
    ("static: a death while others leave", plan("static", 4), "lii", False, 2, (), False),
    ("dynamic: min_spare at the start", plan("dynamic", 8, 2, 4), "", False, 2, (), False),
    ("dynamic: not more than all", plan("dynamic", 1, 3, 4), "", False, 1, (), False),
    ("dynamic: spare ones are made up", plan("dynamic", 8, 2, 4), "bbbi", False, 1, (), False),
    ("dynamic: those that start count", plan("dynamic", 8, 2, 4), "bbbis", False, 0, (), False),
    ("dynamic: enough", plan("dynamic", 8, 1, 2), "bbii", False, 0, (), False),
    ("dynamic: 3 idle of 8, max_spare 2", plan("dynamic", 8), "bbbbbiii", False, 0, (6,), False),
    ("dynamic: half busy is no spare one", plan("dynamic", 8, 1, 2), "hh", False, 1, (), False),
    ("dynamic: all busy, all there", plan("dynamic", 2, 1, 2), "bb", True, 0, (), False),
    ("dynamic: all busy, one starts", plan("dynamic", 4, 1, 2), "bbs", True, 0, (), False),
    ("dynamic: one leaves, another has room", plan("dynamic", 4), "li", False, 0, (1,), False),
    ("dynamic: one leaves, nobody has room", plan("dynamic", 4, 1, 2), "lb", False, 1, (), False),
    ("dynamic: one leaves, one starts", plan("dynamic", 4, 1, 2), "lbs", False, 0, (), False),
    ("ondemand: none at the start", plan("ondemand", 4), "", False, 0, (), True),
    ("ondemand: one for the first connection", plan("ondemand", 4), "", True, 1, (), False),
    ("ondemand: not one more while it starts", plan("ondemand", 4), "s", True, 0, (), False),
    ("ondemand: it has room", plan("ondemand", 4), "i", True, 0, (), False),
    ("ondemand: no room, nobody asks", plan("ondemand", 4), "b", False, 0, (), True),
    ("ondemand: no room, somebody asks", plan("ondemand", 4), "b", True, 1, (), False),
    ("ondemand: all there", plan("ondemand", 2), "bb", True, 0, (), False),
    ("ondemand: half busy has room", plan("ondemand", 4), "h", True, 0, (), False),
    ("ondemand: idle for long", plan("ondemand", 4, idle_s=58.5), "iib", False, 0, (1, 2), False),
    ("ondemand: idle, not so long", plan("ondemand", 4, idle_s=59.5), "ii", False, 0, (1,), False),
    ("ondemand: an idle one that leaves", plan("ondemand", 4), "l", False, 0, (1,), False),
    ("ondemand: a busy one that leaves", plan("ondemand", 4), "L", False, 1, (), False),
    ("ondemand: a reload proves the code", plan("ondemand", 4, start=1), "", False, 1, (), False),
    ("held: as they are", plan("held", 0), "ibbl", True, 0, (), False),
    ("none: no workers at all", plan("static", 0), "", True, 0, (), False),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_pool_sees_and_does(row) -> None:
    _, made, letters, pending, fork, retire, poll = row
    threads = 4 if "h" in letters else 1
    done = made.tick(NOW, workers(letters, threads), pending)
    assert (done.fork, done.retire, done.poll) == (fork, retire, poll)
    assert done.kill == ()


def test_nothing_to_do_is_nothing_to_wake_for() -> None:
    for made in (plan("static", 2), plan("dynamic", 4), plan("ondemand", 2)):
        made.tick(NOW, [])
        made.ready()
    assert plan("static", 2).tick(NOW, workers("ii")) == Actions()
    assert plan("dynamic", 4, 1, 2).tick(NOW, workers("ii")) == Actions(look=NOW + CALM_LOOK_S)
    assert plan("ondemand", 2).tick(NOW, []) == Actions(poll=True)


def test_dynamic_spare_workers_go_one_a_second() -> None:
    made = plan("dynamic", 8, 1, 2)
    assert made.tick(NOW, workers("iiiiii")).retire == (1,)
    assert made.tick(NOW + 0.5, workers("iiiiii")).retire == ()
    assert made.tick(NOW + 1.0, workers("iiiiii")).retire == (1,)


def test_ondemand_wakes_when_the_next_one_is_idle_for_long() -> None:
    done = plan("ondemand", 4, idle_s=60.5).tick(NOW, workers("ii"))
    assert done.look == NOW + 0.5
    done = plan("ondemand", 4, idle_s=100.0).tick(NOW, workers("ii"))
    assert done.look == NOW + CALM_LOOK_S  # until then they may become busy, and nobody says so
    done = plan("ondemand", 4, idle_s=100.0).tick(NOW, workers("ib"))
    assert done.look == NOW + LOOK_S


def test_ondemand_idle_counts_from_the_last_request() -> None:
    calm = View(1, READY, NOW - 500, calm=NOW - 9.5)
    done = plan("ondemand", 4, idle_s=10.0).tick(NOW, [calm])
    assert (done.retire, done.look) == ((), NOW + 0.5)


def test_a_drain_that_takes_too_long_is_ended() -> None:
    late = View(7, DRAINING, NOW - 31, 1, deadline=NOW - 1)
    soon = View(8, DRAINING, NOW - 31, 1, deadline=NOW + 1)
    done = plan("static", 0).tick(NOW, [late, soon])
    assert (done.kill, done.look) == ((7,), NOW + 1)


def test_a_start_that_takes_too_long_is_ended() -> None:
    made = plan("static", 2)
    young = View(1, STARTING, NOW - 1)
    hangs = View(2, STARTING, NOW - BOOT_S)
    done = made.tick(NOW, [young, hangs])
    assert (done.kill, done.fork) == ((2,), 1)


def test_paused_everybody_goes_and_nobody_comes() -> None:
    made = plan("ondemand", 4)
    made.paused = True
    assert made.tick(NOW, workers("sibld"), True).retire == (1, 2, 3, 4)
    assert made.tick(NOW, [], True) == Actions()


def test_scaled_up_and_down() -> None:
    made = plan("static", 2)
    made.most = 3
    assert made.tick(NOW, workers("ii")).fork == 1
    made.most = 1
    assert made.tick(NOW, workers("ii")).retire == (1,)


def crash(made: PoolPlan, seconds: float, lives_s: float = 0.0) -> list[float]:
    """Fork whenever the plan says so; each worker fails at once. When it forked."""
    now, forks, end = NOW, [], NOW + seconds
    while now < end:
        done = made.tick(now, [])
        forks += [now] * done.fork
        if done.fork:
            made.forked(now, done.fork)
            now += lives_s
            for _ in range(done.fork):
                made.failed(now)
        else:
            assert done.look > now, "it would spin"
            now = done.look
    return forks


def test_crash_loop_at_import_backs_off_from_a_tenth_to_thirty_seconds() -> None:
    forks = crash(plan("static", 1), 300)
    gaps = [round(b - a, 6) for a, b in zip(forks, forks[1:], strict=False)]
    assert gaps[:9] == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6]
    assert set(gaps[9:]) == {30.0}


@pytest.mark.parametrize("most", [1, 2, 4, 12, 40])
@pytest.mark.parametrize("lives_s", [0.0, 0.05, 3.0])
def test_crash_loop_at_import_forks_at_most_twelve_times_a_minute(most, lives_s) -> None:
    forks = crash(plan("static", most), 600, lives_s)
    for first in forks:
        window = [when for when in forks if first <= when < first + WINDOW_S]
        assert len(window) <= FORKS_A_WINDOW
    assert len(forks) > 15  # it never gives up


def test_many_workers_start_as_the_first_ones_become_ready() -> None:
    made = plan("static", 40)
    done = made.tick(NOW, [])
    assert done.fork == FORKS_A_WINDOW
    made.forked(NOW, done.fork)
    for _ in range(12):
        made.ready()
    assert made.tick(NOW, workers("i" * 12)).fork == FORKS_A_WINDOW


def test_while_starts_fail_one_worker_tries() -> None:
    made = plan("static", 4)
    made.forked(NOW, 4)
    made.failed(NOW)
    assert made.tick(NOW + 0.05, []).look == NOW + 0.1
    assert made.tick(NOW + 0.1, []).fork == 1
    done = made.tick(NOW + 0.1, [View(1, STARTING, NOW + 0.1)])
    assert (done.fork, done.look) == (0, NOW + 0.1 + BOOT_S)


def test_a_worker_that_lasts_ends_the_back_off() -> None:
    made = plan("static", 4)
    made.failed(NOW)
    made.failed(NOW + 0.2)
    assert made.crash_loop
    made.ready()
    ready = [View(1, READY, NOW + 1)]
    done = made.tick(NOW + 1, ready)
    assert (done.fork, done.look) == (1, NOW + 1)  # one more at a time
    assert made.tick(NOW + 1 + PROVEN_S, ready).fork == 3
    assert not made.crash_loop


def test_ready_and_dead_at_once_is_a_crash_loop_too() -> None:
    made = plan("static", 1)
    now, forks = NOW, 0
    while now < NOW + WINDOW_S:
        done = made.tick(now, [])
        if done.fork:
            forks += 1
            made.forked(now)
            made.ready()
            made.failed(now)
        else:
            now = done.look
    assert forks <= FORKS_A_WINDOW


def test_workers_made_before_the_failure_prove_nothing() -> None:
    made = plan("static", 2)
    made.failed(NOW)
    made.failed(NOW + 0.2)
    made.tick(NOW + 10, workers("i"))
    assert made.crash_loop


def test_fork_fails_EAGAIN_the_rest_stay_and_it_is_tried_again() -> None:
    made = plan("static", 3)
    views = workers("ii")
    assert made.tick(NOW, views).fork == 1
    made.failed(NOW)  # what fork() said
    done = made.tick(NOW, views)
    assert (done.fork, done.retire, done.kill, done.look) == (0, (), (), NOW + 0.1)
    assert made.tick(NOW + 0.1, views).fork == 1


def test_worker_segfaults_five_in_a_minute_are_an_alarm_once() -> None:
    made = plan("static", 2)
    said = [made.died(NOW + at) for at in range(DEATHS_A_WINDOW + 2)]
    assert said == [False] * (DEATHS_A_WINDOW - 1) + [True, False, False]
    slow = plan("static", 2)
    assert not any(slow.died(NOW + at * 20) for at in range(50))


def test_a_worker_killed_is_replaced_at_once() -> None:
    made = plan("static", 2)
    made.died(NOW)
    assert made.tick(NOW, workers("i")).fork == 1


def test_no_deadline_no_look() -> None:
    assert plan("static", 1).tick(NOW, workers("b")).look == inf
