"""A processor at which many cells are played at once: all those that want the same coins and the same signer."""

from __future__ import annotations

import contextlib
import itertools
import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from regtest.faults import Meanwhile
from regtest.funding import script_of
from regtest.malleate import CannotMalleate, Prevout, ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.malleate.wallet_keys import KeyNotInWallet
from regtest.matrix.calls import SENDING, transactions_in
from regtest.matrix.customers import coins_for, plays_of
from regtest.matrix.plan import Plan, Size, Wanted
from regtest.matrix.play import Play
from regtest.network import Network
from regtest.party import NotOffered, Party
from regtest.process import ChildFailed
from regtest.processor import CannotPlay, Contender, Signing, Site
from regtest.proxy import RpcProxy
from regtest.replay.cells import Standing
from regtest.rpc import Json, RpcError, RpcUnreachable
from regtest.scenarios.attacker import Attacker
from regtest.scenarios.stage import ASKED, ATTACK, ATTEMPTS_POSSIBLE, OWED, RETRY, SIGNED, Customer
from regtest.sightings import Sightings

log = logging.getLogger("regtest.story")

_TICKS_MAX: Final = 3
_CELLS_MAX: Final = 14
_BREAKS_OFF: Final = "the story breaks off"
_CANNOT_BE_ASKED: Final = "it cannot be asked"
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Kind:
    """What the cells of one table have in common."""

    coins: tuple[str, ...]
    signing: Signing
    apart: str | None
    """The cell, where its mutants are no twins: what a processor makes of those must not touch other cells."""

    @classmethod
    def of(cls, wanted: Wanted) -> Kind:
        """The table that a cell belongs at."""
        return cls(wanted.coins, wanted.signing, wanted.id if wanted.malleator.changes_ntxid else None)


@dataclass
class Table:
    """The cells, and the processor once it is up. Whatever it raises ends the cells of this table and no others."""

    network: Network
    contender: Contender
    kind: Kind
    cells: Sequence[Wanted]
    overtaken: bool = False
    """Whether somebody sees its transactions before its node does, and sends his mutants first."""
    plays: list[Play] = field(default_factory=list)
    party: Party | None = None
    trouble: str | None = None
    """What broke off everything here."""
    lacks: str | None = None
    """What the processor turned out not to offer, without which none of its cells can be played."""

    def __post_init__(self) -> None:
        self._proxy: RpcProxy | None = None
        self._eye = Sightings(self.network)
        self._seen: set[bytes] = set()
        self._label = f"{self.contender.name.partition(':')[0]}-matrix-{os.getpid()}-{next(_numbers)}"
        self.plays = plays_of(self.network, self.cells)

    @property
    def live(self) -> list[Play]:
        """The plays with something to make blocks of."""
        return [play for play in self.plays if play.is_live]

    @property
    def is_up(self) -> bool:
        """Whether its processor can be asked for anything."""
        return self.party is not None and self.trouble is None and self.lacks is None

    # ------------------------------------------------------------------------------------------------ the beginning

    def bring_up(self) -> None:
        """Build the processor and start it."""
        if self.overtaken:
            self._proxy = RpcProxy(self.network.node)
            self._proxy.start()
        site = Site(self._label, self.network.node, self.kind.coins, self._proxy, None, self.kind.signing)
        self._attempt("it cannot be brought up", partial(self._start, site))

    def _start(self, site: Site) -> None:
        self.party = Party(self.contender.name, self.contender.make(site))
        self.party.processor.start()

    def coins_wanted(self) -> list[list[tuple[str, int]]]:
        """The outputs that fund it, by the payment that they are meant for: enough to pay every customer twice."""
        addresses: list[str] = []
        if self.is_up:
            deposit = self._up.processor.deposit_address
            self._attempt("it has no address", lambda: addresses.extend(map(deposit, self.kind.coins)))
        if len(addresses) < len(self.kind.coins):
            return []
        if self.overtaken and any(play.wanted.malleator.needs_key for play in self.plays):
            self._attempt("its keys cannot be had", partial(self._fetch_keys, addresses))
        customers = sum(len(play.customers) for play in self.plays)
        return [coins_for(addresses) for _ in range(ATTEMPTS_POSSIBLE * customers)]

    def _fetch_keys(self, addresses: Sequence[str]) -> None:
        """Those of its coins, before it is at work: while it sends it may answer nobody."""
        rpc = self.network.rpc
        coins = [Prevout(bytes.fromhex(script_of(rpc, address)), sats) for address, sats in coins_for(addresses)]
        # Who has none, or not these, says so of the cells that want them.
        with contextlib.suppress(NotOffered, KeyNotInWallet):
            self._up.fetch_keys(coins)

    def sign_all(self) -> None:
        """Have every cell's customers paid, one cell after another, and the mutants made of what was signed."""
        for play in self.plays:
            if not self.is_up:
                return
            self._attempt(_BREAKS_OFF, partial(self._sign, play))

    def _sign(self, play: Play) -> None:
        height = self.network.height
        party = self._up
        play.tell(OWED, f"{sum(c.sats for c in play.customers)} sats to {len(play.customers)}", height)
        if self._proxy is not None:
            for method in SENDING:
                self._proxy.on(method, Meanwhile(partial(self._on_its_way, play)))
        for customer in play.customers:
            party.processor.enqueue(customer.request_id, customer.address, customer.sats)
        for _ in range(_TICKS_MAX):
            self._tick()
            signed = [raw for c in play.customers for raw in self.signed_for(play, c)[-1:]]
            if len(signed) == len(play.customers):
                break
        if self._proxy is not None:
            self._proxy.clear()
        self._take_down(play, list(dict.fromkeys(signed)), complete=len(signed) == len(play.customers))

    def _take_down(self, play: Play, originals: list[bytes], *, complete: bool) -> None:
        if play.unplayed is not None:
            return
        if not complete:
            play.reasons.append("it signs nothing for a customer whom it could pay")
            return
        play.tell(SIGNED, ", ".join(f"txid {ids_of(raw).txid}" for raw in originals), self.network.height)
        if not play.mutants:
            # Whatever becomes of the cell: this was signed.
            play.originals = originals
        if play.wanted.size is Size.MANY and len(originals) > 1:
            play.give_up(Standing.NOT_OFFERED, "it pays every customer by a transaction of his own")
            return
        if self._seen & set(originals):
            play.give_up(Standing.NOT_OFFERED, "it pays the customers of several cells by one transaction")
            return
        self._seen |= set(originals)
        if not self.overtaken:
            self.make_mutants(play)
        elif not play.mutants:
            play.give_up(Standing.NOT_OFFERED, "what it sends cannot be seen on its way to the node")

    def make_mutants(self, play: Play) -> None:
        """What the class makes of the originals."""
        attacker = Attacker(self.network, self._up)
        try:
            mutants = [attacker.twin_of(raw, play.wanted.class_id) for raw in play.originals]
        except CannotMalleate as unfit:
            # Of a sound signer what its class asks of signers cannot be had. All else is the coins that it has spent.
            asks_more = play.wanted.malleator.signer is not None and play.wanted.signing is Signing.SOUND
            of_signer = asks_more and not unfit.lacks_coin
            play.give_up(Standing.NOT_OURS if of_signer else Standing.NOT_OFFERED, unfit.why)
        except NotOffered as lacking:
            play.give_up(Standing.NOT_OFFERED, f"the processor does not offer {lacking.what}")
        except KeyNotInWallet as missing:
            play.give_up(Standing.NOT_OFFERED, f"the key of what it spends cannot be had: {missing}")
        else:
            for original, mutant in zip(play.originals, mutants, strict=True):
                if not play.pays_all_as(mutant, original):
                    play.reasons.append("the mutant does not pay the customers what they are owed")
            play.mutants = mutants
            play.tell(ATTACK, f"{play.wanted.class_id}: {', '.join(ids_of(raw).txid for raw in mutants)}")

    def _on_its_way(self, play: Play, call: Json) -> None:
        """Somebody sees it before the node does, and is faster."""
        for raw_hex in transactions_in(call.get("params")):
            raw = bytes.fromhex(raw_hex)
            if raw not in play.originals and play.pays(raw) and play.unplayed is None:
                play.originals.append(raw)
                self._overtake(play)

    def _overtake(self, play: Play) -> None:
        try:
            self.make_mutants(play)
            for mutant in play.mutants:
                self.network.rpc.sendrawtransaction(mutant.hex(), 0)
        except Exception as error:  # noqa: BLE001 - on the proxy's thread: the processor must not suffer for it
            play.reasons.append(f"the mutant could not come first: {type(error).__name__}: {error}")

    # --------------------------------------------------------------------------------------------------- the middle

    def work(self) -> None:
        """A round of work."""
        if self.is_up:
            self._attempt(_BREAKS_OFF, self._tick)

    def ask_and_complain(self, height: int) -> None:
        """Every customer says that nothing arrived, whatever has just happened; a sound processor pays nobody."""
        for play in self.plays:
            if self.is_up and play.unplayed is None:
                self._attempt(_BREAKS_OFF, partial(self._complain, play, height))

    def _complain(self, play: Play, height: int) -> None:
        party = self._up
        play.tell(ASKED, party.is_it_confirmed(play.customers[0].request_id), height)
        for customer in play.customers:
            answer = party.processor.support_retry(customer.request_id)
            if answer.paid_again:
                play.reasons.append(f"it paid again when {customer.request_id} complained: {answer.words}")
            if answer.paid_again or customer is play.customers[0]:
                play.tell(RETRY, answer.words, height)

    def explain(self, height: int) -> None:
        """Operators say what the spends were that were not the processor's own, where it asks them."""
        if self.kind.apart is None:
            return
        for play in self.live:
            for mutant in play.mutants:
                if self.is_up:
                    self._attempt(_BREAKS_OFF, partial(self._explain, play, mutant, height))

    def _explain(self, play: Play, mutant: bytes, height: int) -> None:
        play.tell("an operator is asked", self._up.explain(ids_of(mutant).txid), height)

    # ------------------------------------------------------------------------------------------------------ the end

    def signed_for(self, play: Play, customer: Customer) -> list[bytes]:
        """All that was signed for a customer, oldest first: as the processor shows it, or as it was seen."""
        if self._up.shows_transactions:
            return self._up.signed_transactions(customer.request_id)
        return self._eye.payments_to(customer.script_hex, but={exhibit.wtxid for exhibit in play.exhibits})

    def all_signed(self, play: Play) -> list[bytes]:
        """All that was signed for a cell; what is known of it, if the processor cannot be asked any more."""
        found: list[bytes] = []
        if self.is_up:
            self._attempt(_CANNOT_BE_ASKED, lambda: found.extend(self._shown_for(play)))
        return list(dict.fromkeys([*play.originals, *found]))

    def _shown_for(self, play: Play) -> list[bytes]:
        """Transactions, and nothing else: one that shows something else fails its own cells, and nobody else's."""
        shown = [raw for customer in play.customers for raw in self.signed_for(play, customer)]
        for raw in shown:
            parse_transaction(raw)
        return shown

    def has_refused(self, play: Play) -> bool:
        """Whether it keeps back all that it signed for a cell. Whoever cannot say so does not."""
        said: list[bool] = []
        if self.is_up:
            self._attempt(
                _CANNOT_BE_ASKED, lambda: said.extend(self._up.has_refused(c.request_id) for c in play.customers)
            )
        return len(said) == len(play.customers) and all(said)

    def troubles(self, plays: Sequence[Play], *, paid: bool) -> list[str]:
        """What is wrong with its books, of these cells or of all."""
        found: list[str] = []
        ids = [customer.request_id for play in plays for customer in play.customers]
        if self.is_up:
            self._attempt(_CANNOT_BE_ASKED, lambda: found.extend(self._up.troubles(ids, paid=paid)))
        return found

    def close(self, *, failed: bool) -> None:
        """End the processor and the proxy, and unload the wallet that it may have had at its node."""
        try:
            if self.party is not None:
                self.party.close(failed=failed or self.trouble is not None)
        finally:
            if self._proxy is not None:
                self._proxy.close()
            # Every wallet that stays loaded makes each restart of the node half a second longer.
            with contextlib.suppress(RpcError, RpcUnreachable, ChildFailed):
                self.network.rpc.unloadwallet(self._label, False)  # noqa: FBT003 - load_on_startup

    # ------------------------------------------------------------------------------------------------------ private

    @property
    def _up(self) -> Party:
        if self.party is None:
            raise RuntimeError("the processor of this table is not up")
        return self.party

    def _tick(self) -> None:
        self._up.processor.tick()
        if not self._up.shows_transactions:
            self._eye.look()

    def _attempt(self, what: str, deed: Callable[[], None]) -> None:
        try:
            deed()
        except (CannotPlay, NotOffered) as lacking:
            self.lacks = str(lacking)
            for play in self.plays:
                play.give_up(Standing.NOT_OFFERED, self.lacks)
        except Exception as error:
            # Whatever it was: it fails the cells of this table, and the others are played all the same.
            log.exception("[%s] %s", self.contender.name, what)
            self.trouble = f"{what}: {type(error).__name__}: {error}"


def tables_of(network: Network, contender: Contender, cells: Sequence[Wanted], *, overtaken: bool) -> list[Table]:
    """One table for each kind of cells that are to be played, or several where they are many.

    What is under way is sent again in every round, so the work grows with the square of a table's cells.
    """
    by_kind: dict[Kind, list[Wanted]] = {}
    for cell in cells:
        if cell.plan in {Plan.PLAY, Plan.TRY_IN_VAIN}:
            by_kind.setdefault(Kind.of(cell), []).append(cell)
    return [
        Table(network, contender, kind, found[at : at + _CELLS_MAX], overtaken)
        for kind, found in by_kind.items()
        for at in range(0, len(found), _CELLS_MAX)
    ]
