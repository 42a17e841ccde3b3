"""Processes, hosts, Redis, clocks and disks: what dies, stops, forgets and repeats itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.simulation.deeds import Deed, day, fault
from tests.simulation.machine import Process
from withdrawals.core.model import BatchState

if TYPE_CHECKING:
    from tests.simulation.world import World

CALLS_AHEAD_MAX: Final = 30
LOOPS: Final = ("follower", "follower2", "sweeper", "worker", "worker2", "signer")
RATES: Final = (
    "busy",
    "unreachable",
    "replies_lost",
    "omits",
    "stalls",
    "signer_away",
    "signer_loses",
    "signer_malleates",
    "disk_fails",
)
"""What the weather has, but for the world."""
JOBS: Final = ("plan", "sign", "broadcast", "reissue")


def _some_process(world: World, names: tuple[str, ...] = (*LOOPS, "api", "ops")) -> Process | None:
    alive = [world.processes[name] for name in names if world.processes[name].alive]
    return world.faults.choice(alive) if alive else None


@fault("aim", 10)
def aim(world: World) -> str | None:
    """A process will die at one of its next calls."""
    process = _some_process(world)
    if process is None:
        return None
    process.calls_left = world.faults.randrange(CALLS_AHEAD_MAX)
    return f"at {process.name}, {process.calls_left} calls ahead"


@fault("kill_all", 1)
def kill_all(world: World) -> str | None:
    """Every process at once."""
    for process in world.processes.values():
        process.kill()
        world.restart_later(process)
    return ""


@fault("power_cut", 1)
def power_cut(world: World) -> str | None:
    """Every process at once, and whatever was not synced."""
    kill_all.do(world)
    world.disk.cut_power()
    return ""


@fault("bad_weather", 5)
def bad_weather(world: World) -> str | None:
    """Calls begin to fail, each kind by its own chance."""
    weather, rng = world.weather, world.faults
    chosen = rng.sample(RATES, 2)
    for name in chosen:
        setattr(weather, name, rng.choice((0.02, 0.1, 0.3)))
    return " ".join(chosen)


@fault("signer_mute", 1)
def signer_mute(world: World) -> str | None:
    """The line to the signer breaks: it hears, uses the keys, and most of its answers never arrive."""
    world.weather.signer_loses = 0.7
    return ""


@day("good_weather", 5)
def good_weather(world: World) -> str | None:
    """Calls succeed again."""
    world.weather.clear()
    return ""


@fault("redis_down", 1)
def redis_down(world: World) -> str | None:
    """Nobody hears a bell."""
    world.queue.down = True
    return ""


@fault("redis_flushed", 1)
def redis_flushed(world: World) -> str | None:
    """FLUSHALL."""
    world.queue.flush()
    return ""


@fault("redis_rolled_back", 1)
def redis_rolled_back(world: World) -> str | None:
    """What its disk had: older rings come again."""
    world.queue.roll_back()
    world.queue.snapshot()
    return ""


@fault("redis_unreliable", 2)
def redis_unreliable(world: World) -> str | None:
    """Rings vanish, come twice, and in any order."""
    queue, rng = world.queue, world.faults
    queue.loses, queue.doubles, queue.shuffled = rng.choice((0, 0.3, 0.9)), rng.choice((0, 0.5)), rng.random() < 0.5
    return f"loses {queue.loses} doubles {queue.doubles}"


@fault("stray_jobs", 3)
def stray_jobs(world: World) -> str | None:
    """Jobs that nobody rang for now: every kind, for any batch there ever was."""
    with world.look() as view:
        batches = view.list_batches(set(BatchState))
    job = world.faults.choice(JOBS)
    target = "" if job == "plan" else world.faults.choice(batches) if batches else "b-never"
    for _ in range(2):
        world.queue.push(job, target)
    return f"{job} {target}"


@fault("clock_step", 2)
def clock_step(world: World) -> str | None:
    """A host's clock jumps, forward or back."""
    process = _some_process(world)
    if process is None:
        return None
    process.offset_s = world.faults.choice((-4_000, -90, -3, 0, 0, 3, 90, 4_000))
    return f"{process.name} {process.offset_s:+d} s"


@fault("other_node", 3)
def other_node(world: World) -> str | None:
    """A process is connected to another node from now on."""
    process = _some_process(world)
    if process is None:
        return None
    process.node += 1
    return f"{process.name} to {process.node % len(world.network.nodes)}"


@fault("node_down", 2)
def node_down(world: World) -> str | None:
    """A node stops, or comes back."""
    number = world.faults.randrange(len(world.network.nodes))
    world.down ^= {number}
    return f"{number} {'stops' if number in world.down else 'is back'}"


@fault("long_silence", 1)
def long_silence(world: World) -> str | None:
    """Hours in which nothing happens but what was due."""
    world.clock.at += world.faults.choice((1_000, 8_000, 100_000))
    return ""


DEEDS: Final[tuple[Deed, ...]] = (
    aim,
    kill_all,
    power_cut,
    bad_weather,
    signer_mute,
    good_weather,
    redis_down,
    redis_flushed,
    redis_rolled_back,
    redis_unreliable,
    stray_jobs,
    clock_step,
    other_node,
    node_down,
    long_silence,
)
