"""One simulated world: nodes, queue, ledger, keys, processes, an exchange, an operator, and whatever goes wrong.

Everything that is decided by chance is drawn from the seed, in an order that depends on nothing else.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Final

from tests.simulation.answers import ANSWERED_FOR, unanswered
from tests.simulation.attendant import Attendant
from tests.simulation.blocks import Block
from tests.simulation.disk import Disk
from tests.simulation.exchange import Exchange
from tests.simulation.gateway import Gateway
from tests.simulation.holdings import Holdings
from tests.simulation.losses import Losses
from tests.simulation.machine import EXPECTED, Process
from tests.simulation.memory import empty_image, the_database, the_ledger
from tests.simulation.network import SimNetwork
from tests.simulation.node import SimNode
from tests.simulation.oracle import Oracle, Violation
from tests.simulation.queue import SimulatedQueue
from tests.simulation.scheduler import Scheduler, Task
from tests.simulation.settings import START, Clock, Settings
from tests.simulation.story import Kind, Story
from tests.simulation.transactions import tx_of
from tests.simulation.twins import twin_of
from tests.simulation.weather import Weather
from tests.unit.signing_orders import DESCRIPTORS, write_key_file
from withdrawals.core.model import WithdrawalState
from withdrawals.core.tx import view_of
from withdrawals.core.types import Network as Chain
from withdrawals.core.types import ScriptPubKey, Txid
from withdrawals.errors import LedgerBusy, OutcomeUnknown, SignerUnavailable, TheirError
from withdrawals.ports import LedgerView, SignedAnswer, SigningOrder
from withdrawals.processor import Processor
from withdrawals.steps import init as init_step

REFILL_SATS: Final = 1_500_000
FEES_SATS: Final = 20_000
"""Whoever has less than this beside what is queued sends more."""


class Crashed(Exception):
    """A process of ours ended with an error that is no trouble of the world's."""


class World:
    """Everything there is in one history."""

    def __init__(self, seed: int, settings: Settings, *, story: Story | None = None) -> None:
        self.seed, self.settings = seed, settings
        self.story = story or Story()
        # Separate streams: what one of them is asked for moves none of the others.
        self.deeds, self.turns, self.faults, self.ids = (
            random.Random(f"{seed} {name}") for name in ("deeds", "turns", "faults", "ids")
        )
        self.clock = Clock()
        self.weather = Weather(self)
        self.queue = SimulatedQueue(self.faults, self._ring)
        self.scheduler = Scheduler(self.turns, self.clock.now)
        self.folder = Path(tempfile.mkdtemp(prefix="simulation-", dir=_memory_folder()))
        write_key_file(self.folder / "keys", [DESCRIPTORS[settings.kind]])
        self.disk = Disk(self, self.folder / "journal")
        self.config = settings.config(self.folder)
        self.policy = policy = self.config.policy
        self.oracle = Oracle(final_depth=policy.final_depth, never_followed_depth=policy.reorg_safety_depth)
        self.network = SimNetwork(self.clock, nodes=settings.nodes)
        self.birthday = 0
        self.down: set[int] = set()
        """Numbers of the nodes that do not answer."""
        self.gateways: dict[str, Gateway] = {}
        self.exchange, self.attendant = Exchange(self), Attendant(self)
        self.holdings, self.losses = Holdings(self), Losses(self)
        self.foreign_truth: dict[str, dict[int, str]] = {}
        """By txid of a payment that people made by hand: output index to the request that it was meant for."""
        self.plan_truth: dict[str, dict[int, str]] = {}
        """By ntxid of everything that was ever signed: output index to the request that it pays."""
        self.refill_wanted = False
        self.elsewhere = False
        """Whether it is another ledger's processor that uses the keys now."""
        self.unrelayable: set[ScriptPubKey] = set()
        self.processes = {
            p.name: p
            for p in (
                Process("follower", self, "follow"),
                Process("follower2", self, "follow"),
                Process("sweeper", self, "sweep"),
                Process("worker", self, "work:withdrawals"),
                Process("worker2", self, "work:withdrawals"),
                Process("signer", self, "work:sign"),
                Process("api", self, "api"),
                Process("ops", self, "ops"),
            )
        }
        self._restarts: dict[str, int] = {}

    # ----------------------------------------------------------------------------------------------------- beginnings

    def begin(self) -> None:
        """Create the ledger, fund the wallet, start everything."""
        database = the_database()
        database.load(empty_image())
        self.oracle.block(*_told(self.network.blocks[0]))
        self.network.block_listeners.append(self._saw_block)
        self.network.transaction_listeners.append(self.oracle.saw)
        for node in self.network.nodes:
            node.policy.refuses_output = lambda output: output.script in self.unrelayable
        for script in sorted(self.holdings.scripts()):
            self.oracle.own_script(script)
        ops = self.processes["ops"]
        ops.start()
        parts = ops.parts
        if parts is None:
            raise RuntimeError("ops does not run")
        init_step.init(
            parts.ledger,
            parts.chain,
            parts.clock,
            parts.watched_wallet,
            network=Chain.REGTEST,
            birthday_height=None,
            who="ops",
        )
        self.fund(self.settings.coins)
        for process in self.processes.values():
            if not process.alive:
                process.start()

    def fund(self, coins: Sequence[int]) -> None:
        """Strangers pay these to us, in the mempools."""
        scripts = [script for _ in coins if (script := self.holdings.fresh_script()) is not None]
        if scripts:
            self.network.deposit(*zip(scripts, coins, strict=False))

    def look(self) -> AbstractContextManager[LedgerView]:
        """The ledger, past no edge."""
        return the_ledger().read()

    def stop_all(self) -> None:
        """Every process is stopped by hand: nobody is started again by a supervisor."""
        for process in self.processes.values():
            process.kill()
        self._restarts.clear()

    def start_all(self) -> None:
        """Whoever does not run is started."""
        for process in self.processes.values():
            if not process.alive:
                process.start()

    def end(self) -> None:
        """Let go of everything."""
        for process in self.processes.values():
            process.kill()
        self.holdings.let_go()
        shutil.rmtree(self.folder, ignore_errors=True)

    # -------------------------------------------------------------------------------------------------------- seeing

    def tell(self, kind: Kind, name: str, words: str = "") -> None:
        """One more event."""
        self.story.tell(kind, name, words, at=self.clock.at - START)

    def step(self, process: Process, call: str) -> None:
        """A process of ours goes on by one call."""
        self.tell(Kind.STEP, process.name, call)
        if call == "ledger.commit":
            self.losses.note_commit()

    def note_death(self, process: Process, call: str) -> None:
        """It dies at this call."""
        self.tell(Kind.FAULT, "kill", f"{process.name} at {call}")
        self.restart_later(process)

    def watch_asked(self, order: SigningOrder) -> None:
        """A signer is about to be asked for this."""
        view = tx_of(order.unsigned)
        free = {vout: (o.script, o.sats) for vout, o in enumerate(view.outputs)}
        truth = self.plan_truth.setdefault(view.txid, {})
        for payment in order.payments:
            vout = next((v for v, paid in free.items() if paid == (payment.script, payment.sats)), None)
            if vout is not None:
                del free[vout]
                truth[vout] = payment.request_id

    def watch_keys(self, order: SigningOrder) -> None:
        """The keys are about to be used for this: until then, whoever died in between bound nobody to anything."""
        self.oracle.asked(
            order.batch_id,
            order.plan_number,
            order.unsigned,
            [(p.request_id, bytes(p.script), p.sats) for p in order.payments],
            elsewhere=self.elsewhere,
        )

    def watch_signed(self, order: SigningOrder, answer: SignedAnswer) -> SignedAnswer:
        """Signed bytes exist from now on, whoever receives them."""
        del order
        unfit = False
        if (
            self.weather.strikes(self.weather.signer_malleates)
            and (twin := twin_of(self, answer.raw, self.faults)) is not None
        ):
            self.holdings.keep(answer.raw)
            self.tell(Kind.FAULT, "signer_malleates", twin[0])
            answer, unfit = replace(answer, raw=twin[1]), True
        self.oracle.answered(answer.raw, late=self.elsewhere, unfit=unfit)
        self.holdings.keep(answer.raw)
        return answer

    def _saw_block(self, block: Block) -> None:
        self.oracle.block(*_told(block))
        self.ring_followers()

    def check(self) -> None:
        """What must be true after every event."""
        self.oracle.check(the_database().raw)
        self.losses.look()

    # -------------------------------------------------------------------------------------------------------- running

    def run_one(self, task: Task) -> None:
        """Let one task go on by one call. Raises Crashed for an error that is a mistake of ours."""
        self.scheduler.resume(task)
        if task.ended:
            self._ended(task)

    def _ended(self, task: Task) -> None:
        owner = next((p for p in self.processes.values() if task in p.tasks), None)
        if owner is not None:
            owner.tasks.remove(task)
        if isinstance(task.error, Violation):
            raise task.error
        if task.error is not None and not isinstance(task.error, EXPECTED):
            raise Crashed(f"{task.name}: {type(task.error).__name__}: {task.error}") from task.error
        if owner is not None and not task.dead and owner.role not in {"api", "ops"}:
            owner.kill()  # a loop never ends by itself, unless something is wrong with the world
            self.tell(Kind.DEED, "ended", f"{owner.name}: {type(task.error).__name__}")
            self.restart_later(owner)

    def restart_later(self, process: Process) -> None:
        """Its supervisor starts it again soon."""
        self._restarts[process.name] = self.clock.at + self.faults.randint(1, 30)

    def restart_due(self) -> bool:
        """Start whatever was down for long enough; whether there was any."""
        due = [name for name, at in self._restarts.items() if at <= self.clock.at]
        for name in due:
            del self._restarts[name]
            if not self.processes[name].alive:
                self.processes[name].start()
                self.tell(Kind.DEED, "start", name)
        return bool(due)

    def next_moment(self) -> int | None:
        """When something happens by itself next."""
        moments = [m for m in (self.scheduler.next_wake(), *self._restarts.values()) if m is not None]
        return min(moments) if moments else None

    def pass_time(self) -> bool:
        """Let time pass until something happens by itself; False if nothing ever will."""
        moment = self.next_moment()
        if moment is None:
            return False
        self.clock.at = max(self.clock.at, moment)
        self.restart_due()
        return True

    def patience_of(self, process: Process) -> int:
        """How long an idle loop sleeps."""
        return self.turns.randint(30, 240) if process.role == "follow" else self.turns.randint(60, 300)

    def _ring(self, queue: str) -> None:
        for process in self.processes.values():
            if process.role == f"work:{queue}":
                for task in process.tasks:
                    self.scheduler.wake(task)

    def ring_followers(self) -> None:
        """A node announces a block: whoever listens looks."""
        for process in self.processes.values():
            if process.role == "follow":
                for task in process.tasks:
                    self.scheduler.wake(task)

    def truth_of(self, txid: str) -> dict[int, str]:
        """Whom a transaction was meant to pay, as somebody knows who was there: output index to request."""
        meant = self.foreign_truth.get(txid)
        if meant is not None:
            return meant
        known = self.network._by_txid.get(Txid(txid))
        return {} if known is None else self.plan_truth.get(view_of(known.raw).ntxid, {})

    def running_process(self) -> Process | None:
        """Whose task runs; None: the simulation itself."""
        task = self.scheduler.running
        return next((p for p in self.processes.values() if task in p.tasks), None) if task is not None else None

    def is_down(self, node: SimNode) -> bool:
        """Whether it answers nobody."""
        return node.number in self.down

    # --------------------------------------------------------------------------------------------------------- faults

    def gateway(self, process: Process) -> Gateway:
        """What a process takes for its node."""
        return self.gateways.setdefault(process.name, Gateway(self, process))

    def perhaps_fail(self, process: Process, call: str) -> None:
        """Before a call: the database may be busy, the signer away, the process asleep."""
        weather = self.weather
        if self.scheduler.running is None:
            return
        if call == "ledger.begin" and weather.strikes(weather.busy):
            self.tell(Kind.FAULT, "ledger_busy", process.name)
            raise LedgerBusy("database is locked")
        if call == "signer.ask" and weather.strikes(weather.signer_away):
            self.tell(Kind.FAULT, "signer_away", process.name)
            raise SignerUnavailable("the signer does not answer")
        if call != "ledger.commit" and weather.strikes(weather.stalls):
            seconds = self.faults.choice((3, 8, 40, 400, 4_000))
            self.tell(Kind.FAULT, "stall", f"{process.name} at {call} for {seconds} s")
            self.scheduler.sleep(seconds, call)

    def perhaps_lose_reply(self, process: Process, call: str) -> None:
        """After a call took effect: nobody may hear so."""
        weather = self.weather
        if call == "signer.ask" and weather.strikes(weather.signer_loses):
            self.tell(Kind.FAULT, "signer_reply_lost", process.name)
            raise SignerUnavailable("the signer's answer was lost")
        if call.startswith("chain.") and weather.strikes(weather.replies_lost):
            self.tell(Kind.FAULT, "reply_lost", f"{process.name} at {call}")
            raise OutcomeUnknown(f"{call}: the answer was lost")

    def is_unrelayable(self, script: ScriptPubKey) -> bool:
        """Whether no node relays an output to this script."""
        return script in self.unrelayable

    def refill(self, processor: Processor) -> None:
        """Send what `status` says is missing, and something for fees, which are in none of its sums."""
        status = processor.status()
        missing = status.missing_sats
        queued = sum(row.sats for row in status.states if row.state is WithdrawalState.QUEUED)
        barely = queued and status.spendable_sats - queued < FEES_SATS and not status.waiting_sats
        if missing or barely or self.refill_wanted:
            self.refill_wanted = False
            self.fund((missing + REFILL_SATS,))

    def unrelayable_stays(self) -> None:
        """Nodes come to relay everything again."""
        self.unrelayable.clear()

    def audit(self, processor: Processor) -> None:
        """The processor's own proof. Raises Violation for a finding that no person's word, now void, explains."""
        with self.look() as view:
            excused = unanswered(view) if self.attendant.has_approved else frozenset()
        findings = [
            f
            for f in processor.audit().findings
            if (f.code not in ANSWERED_FOR or not any(name in f.message for name in excused))
            and not (f.code == "journal" and self.losses.fenced)  # lines that a fence made void stay unknown
        ]
        if findings:
            raise Violation("audit", "; ".join(str(f) for f in findings[:5]))

    def run_command(self, what: str, command: Callable[[Processor], object]) -> Task:
        """One command of an operator."""

        def shielded(processor: Processor) -> object:
            with suppress(*EXPECTED, TheirError):
                return command(processor)
            return None

        return self.processes["ops"].run(what, shielded)


def _told(block: Block) -> tuple[str, str, int, bytes]:
    return block.header.hash, block.header.prev, block.header.height, block.raw


def _memory_folder() -> str | None:
    shared = Path("/dev/shm")
    return str(shared) if shared.is_dir() else None
