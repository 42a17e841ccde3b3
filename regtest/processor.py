"""What the harness asks of any withdrawal processor that it attacks, careful or not.

`Processor` is all that a system must have to be tested. What else it can do is offered by having the methods of one of
the protocols below it: a story that needs what a system does not offer is shown as *not offered*, and never as passed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol, runtime_checkable

from regtest.bitcoind import Bitcoind
from regtest.malleate import Prevout
from regtest.proxy import RpcProxy


@dataclass(frozen=True, slots=True)
class SupportAnswer:
    """What the support desk did for a customer who says that nothing arrived, and what it told him."""

    paid_again: bool
    words: str


class Processor(Protocol):
    """One processor on the harness's node. Amounts are integer satoshis; a request id names one withdrawal for ever.

    Nothing happens by itself: `tick` is one round of whatever its workers do. So a scenario decides what comes first.
    While one thread is in `tick`, another may call anything else, as customers and operators do, or `tick` once more.

    It is made and started on one thread, asked and told to `tick` on another, and closed on a third. What is bound to
    its thread, as connections of sqlite3 are, must be opened where it is used.
    """

    @property
    def name(self) -> str:
        """What the story calls it."""

    def start(self) -> None:
        """Bring it up, or up again: what it wrote down before is still there."""

    def stop(self) -> None:
        """Take its workers down; its books stay."""

    def close(self, *, failed: bool = False) -> None:
        """Stop it for good, and delete its files unless they are to be looked at."""

    def deposit_address(self, kind: str) -> str:
        """A new address of its hot wallet, of Bitcoin Core's address type `kind`: `legacy`, `bech32`, ..."""

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        """Accept a customer's withdrawal. The same id again is the same withdrawal."""

    def cancel(self, request_id: str) -> bool:
        """Give a withdrawal up and the money back to the customer's balance; False: it is too late for that."""

    def tick(self) -> None:
        """Do one round of work: send what waits, look after what was sent.

        A payment that waits must be planned, signed and sent within three rounds. A round comes when the story has one,
        and not by the clock: whatever waits for time to pass must be configured short, and counted in rounds.
        """

    def status(self, request_id: str) -> str:
        """The withdrawal's state, in the processor's own word."""

    def support_retry(self, request_id: str) -> SupportAnswer:
        """The customer complains that nothing arrived: do what the support desk does then."""


# ------------------------------------------------------------------------------------------------ what may be offered


@runtime_checkable
class ShowsTransactions(Protocol):
    """It keeps what it signs, and shows it. Of any other the harness knows what it saw in mempools and blocks."""

    def signed_transactions(self, request_id: str) -> list[bytes]:
        """Every transaction that it ever signed for the withdrawal, oldest first."""


@runtime_checkable
class TellsBeliefs(Protocol):
    """It says why it believes what it believes."""

    def is_it_confirmed(self, request_id: str) -> str:
        """The answer that it goes by when somebody asks whether a payment is confirmed, in one line."""


@runtime_checkable
class HoldsKeys(Protocol):
    """Its keys can be had: what its owner, a second signer of its or a thief could sign is played to it, too."""

    def owner_keys(self, prevouts: Sequence[Prevout]) -> list[bytes]:
        """The secrets, 32 bytes each, that sign for these outputs."""


@runtime_checkable
class KeepsBackups(Protocol):
    """Its books can be copied, and the copy put back."""

    def back_up(self) -> None:
        """Copy its books."""

    def restore(self) -> None:
        """Put the copy in their place, as after a disk died, and bring it up."""

    def recover(self) -> str:
        """What its operators do after that, in words."""


@runtime_checkable
class AsksOperators(Protocol):
    """It stops where it does not understand what happened to its coins, until somebody has said what it was."""

    def explain(self, txid: str) -> str:
        """What its operator does about a spend of its coins that was not its own, in words."""


@runtime_checkable
class Bumps(Protocol):
    """The fee of a payment that is under way can be raised."""

    def bump(self, request_id: str) -> bool:
        """Raise it and send the replacement; False: refused."""


@runtime_checkable
class LeavesOut(Protocol):
    """One of several that a payment under way pays together can be left out of it: nodes refuse it for his sake."""

    def leave_out(self, request_id: str) -> bool:
        """Send a replacement that pays the others; he is paid apart, when that can do no harm. False: refused."""


@runtime_checkable
class DelaysSigner(Protocol):
    """Its signer can be made to answer late: what it was asked before is answered after much else has happened."""

    def delay_signer(self) -> None:
        """From now on the signer signs, and nobody hears of it."""

    def release_signer(self) -> None:
        """Whatever it signed meanwhile is handed over, and from now on it answers at once."""


@runtime_checkable
class Crashes(Protocol):
    """It can be killed as by a power cut, at any moment, and started again."""

    def kill(self) -> None:
        """End all its processes by SIGKILL, whatever they are at. `start` brings it up again."""


@runtime_checkable
class RunsTwice(Protocol):
    """A second copy of all its workers can be let loose on the same books."""

    def tick_twice(self) -> None:
        """One round of work by two of every worker, at once."""


@runtime_checkable
class LosesQueue(Protocol):
    """What wakes its workers is kept apart from its books, and can be lost or put back to an earlier state."""

    def roll_back_queue(self) -> None:
        """The first call remembers the queue as it is; each later one puts it back to that."""

    def flush_queue(self) -> None:
        """Forget it."""


@runtime_checkable
class ChecksItself(Protocol):
    """Its books can be asked whether they agree with the chain."""

    def has_refused(self, request_id: str) -> bool:
        """Whether it keeps what its signer returned for this withdrawal, and sends none of it."""

    def troubles(self, request_ids: Sequence[str], *, paid: bool) -> list[str]:
        """What is wrong with its books at the end of a story, in sentences; `paid`: all were paid once and buried."""


OFFERS: dict[type, str] = {
    ShowsTransactions: "signed_transactions",
    TellsBeliefs: "is_it_confirmed",
    HoldsKeys: "owner_keys",
    KeepsBackups: "back_up, restore, recover",
    AsksOperators: "explain",
    Bumps: "bump",
    LeavesOut: "leave_out",
    DelaysSigner: "delay_signer, release_signer",
    Crashes: "kill",
    RunsTwice: "tick_twice",
    LosesQueue: "roll_back_queue, flush_queue",
    ChecksItself: "has_refused, troubles",
}
"""What a processor may offer, and by which methods."""


# ------------------------------------------------------------------------------------------------ where one is made


class Signing(StrEnum):
    """How a processor's signer writes its signatures, and whether they are checked before they are sent."""

    SOUND = "sound"
    PADDED = "padded"
    """Like Mt.Gox's signer it puts a needless zero byte in front of R. Whatever checks it has are on."""
    PADDED_UNCHECKED = "padded, unchecked"
    """The same, with the checks taken away: what tracking alone is worth."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where a processor is to be built: the node, the coins of its hot wallet, and what else the story has for it."""

    label: str
    """A name that no other site of this run has: for a wallet, a queue, a database."""
    node: Bitcoind
    """Its node; a wallet there may be its own. Its `cookie_path` has the credentials."""
    coins: tuple[str, ...] = ("bech32",)
    """Bitcoin Core's address types of the coins that its wallet gets; change goes to the first."""
    proxy: RpcProxy | None = None
    """What stands between it and the node, if anything: talk to `rpc_url`, never past it."""
    redis_url: str | None = None
    """A Redis server for it; None: all work is done inside `tick`."""
    signing: Signing = Signing.SOUND

    @property
    def rpc_port(self) -> int:
        """The port on 127.0.0.1 where it reaches its node."""
        return self.node.rpc_port if self.proxy is None else self.proxy.port

    @property
    def rpc_url(self) -> str:
        """The same as an address, without credentials."""
        return f"http://127.0.0.1:{self.rpc_port}"

    @property
    def cookie_path(self) -> Path:
        """The file with the node's RPC credentials, `user:password`."""
        return self.node.cookie_path


class CannotPlay(Exception):
    """This processor cannot be built on this site: `.why`. Its cells are shown as *not offered*."""

    def __init__(self, why: str) -> None:
        self.why = why
        super().__init__(why)


Factory = Callable[[Site], Processor]
"""Builds a processor that is not started yet. Raises `CannotPlay`."""


@dataclass(frozen=True, slots=True)
class Contender:
    """Somebody who takes part: the processor under test, or a control that must lose where a story says so."""

    name: str
    make: Factory
    is_control: bool = False
