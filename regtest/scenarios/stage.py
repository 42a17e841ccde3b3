"""The stage of a story: customers, a processor, an attacker and a chain, and every step of theirs told in a sentence.

What happens is written down twice: as log lines, and as *moments*, label and words, which a report puts side by side
for two processors. Nothing here decides who won; `curtain` does, by asking the chain.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from typing import Final

from regtest.funding import build_payment, script_of
from regtest.malleate import Prevout, ids_of
from regtest.malleate.transaction import parse_transaction
from regtest.network import Network
from regtest.oracle import ChainPayment, payments_to
from regtest.party import Party
from regtest.proxy import RpcProxy
from regtest.record import Exhibit, Moment, Record, Role, blocks_with
from regtest.rpc import RpcError, btc_of
from regtest.scenarios.attacker import Attacker
from regtest.scenarios.weather import Weather
from regtest.sightings import Sightings

log = logging.getLogger("regtest.story")

ANCHOR_DEPTH: Final = 6
"""Our processor builds on nothing shallower."""
FINAL_DEPTH: Final = 6
SIGNING_ROUNDS: Final = 3
"""In which a processor has signed whatever it can sign: one to plan, one to sign, one to send, as in the matrix."""
CURTAIN_ROUNDS: Final = 3
"""Rounds of work, each with a block, for who needs one to miss a payment, one to give it up and one to pay again."""
ATTEMPTS_POSSIBLE: Final = 2
"""How many times the wallet could pay: the coins for a second payment are always there."""

OWED, SIGNED, ATTACK, ASKED, RETRY, ON_CHAIN = (
    "customer is owed",
    "signed",
    "attacker re-encodes it",
    '"is it confirmed?"',
    "support clicks retry",
    "customer has on chain",
)


class SignsNothing(Exception):
    """The processor has everything that it needs to pay a customer, and does not."""


@dataclass(frozen=True, slots=True)
class Customer:
    """Somebody who is owed `sats` under one request id, at an address that nobody else uses."""

    request_id: str
    address: str
    script_hex: str
    sats: int
    before: tuple[str, ...] = ()
    """The ids of his requests that were cancelled before this one: he got his balance back, and asked anew."""


@dataclass
class Stage:
    """One story being played to one processor."""

    network: Network
    party: Party
    coins: tuple[str, ...]
    proxy: RpcProxy | None = None
    customers: list[Customer] = field(default_factory=list)
    moments: list[Moment] = field(default_factory=list)
    exhibits: list[Exhibit] = field(default_factory=list)
    shortcomings: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.start_height = self.network.height
        self.attacker = Attacker(self.network, self.party)
        self.weather = Weather(self.network)
        self._seen = Sightings(self.network)
        self._forgotten: dict[str, list[bytes]] = {}
        self.is_asked = True

    @property
    def line(self) -> RpcProxy:
        """What stands between processor and node, in a story that says so."""
        if self.proxy is None:
            raise ValueError("this story needs a proxy in front of the node")
        return self.proxy

    @property
    def customer(self) -> Customer:
        """The customer of a story that has only one."""
        [customer] = self.customers
        return customer

    @property
    def signed(self) -> list[bytes]:
        """Everything that was signed for the customer, oldest first."""
        return self.signed_for(self.customer)

    def signed_for(self, customer: Customer) -> list[bytes]:
        """Everything that was signed for one customer, oldest first: as the processor shows it, or as it was seen."""
        if self.party.shows_transactions and self.is_asked:
            ids = (*customer.before, customer.request_id)
            return [raw for request_id in ids for raw in self.party.signed_transactions(request_id)]
        self._seen.look()
        return self._seen.payments_to(customer.script_hex, but={exhibit.wtxid for exhibit in self.exhibits})

    def ever_signed_for(self, customer: Customer) -> list[bytes]:
        """The same, and before it what the processor has forgotten because its books were put back."""
        ids = (*customer.before, customer.request_id)
        forgotten = [raw for request_id in ids for raw in self._forgotten.get(request_id, [])]
        return list(dict.fromkeys([*forgotten, *self.signed_for(customer)]))

    def last_signed(self, customer: Customer | None = None) -> bytes:
        """What was signed last for a customer, after as many rounds of work as it may take. Raises `SignsNothing`."""
        customer = customer or self.customer
        for _ in range(SIGNING_ROUNDS):
            if signed := self.signed_for(customer):
                return signed[-1]
            self.work()
        if signed := self.signed_for(customer):
            return signed[-1]
        raise SignsNothing("it signs nothing for a customer whom it could pay")

    def is_one_payment(self, customer: Customer | None = None) -> bool:
        """Whether of all that was signed for him any two spend a coin in common, so that no chain can hold two of them.

        Who raises his fee by himself signs anew, and that is sound, as long as the coins are the same.
        """
        spent = [_outpoints(raw) for raw in self.signed_for(customer or self.customer)]
        return all(one & other for one, other in combinations(spent, 2))

    def fall_silent(self) -> None:
        """The processor cannot be asked any more: from now on only what can be seen counts."""
        self.is_asked = False

    def tell(self, label: str, words: str) -> None:
        """Write a moment down."""
        log.info("[%s] %s: %s.", self.party.name, label, words.removesuffix("."))
        self.moments.append(Moment(label, words, self.network.height))

    def tell_txid(self, label: str, words: str, raw: bytes) -> None:
        """Write a moment down that ends in the txid of a transaction."""
        self.tell(label, f"{words} {ids_of(raw).txid}")

    def exhibit(self, role: Role, raw: bytes, name: str) -> None:
        """Put a transaction that is not the processor's own into the picture; each once."""
        exhibit = Exhibit(role, raw, name)
        if exhibit not in self.exhibits:
            self.exhibits.append(exhibit)

    def expect(self, what: str, *, holds: bool) -> None:
        """What a sound processor does here, beside paying once; where it does not hold, ours has not passed."""
        if not holds:
            self.shortcomings.append(f"not so: {what}")

    # ------------------------------------------------------------------------------------------------- the beginning

    def fund(self, *coin_sats: int) -> list[Prevout]:
        """Give the wallet coins, one of each of the story's kinds for each payment it could make, and bury them."""
        coins: list[Prevout] = []
        for _ in range(ATTEMPTS_POSSIBLE):
            addresses = [self.party.processor.deposit_address(kind) for kind in self.coins]
            paid = self.network.fund_many(list(zip(addresses, coin_sats, strict=True)))
            coins += [Prevout(bytes.fromhex(coin.script_hex), coin.amount_sats) for coin in paid]
        self.network.mine(ANCHOR_DEPTH)
        return coins

    def deposits_come_in(self, sats: int) -> None:
        """A coin more for the wallet, as deep as any, in blocks that leave what waits in the mempool where it is."""
        address = self.party.processor.deposit_address(self.coins[0])
        raw, _ = build_payment(self.network.miner, [(address, sats)])
        self.network.mine_exactly([raw])
        self.network.mine_empty(ANCHOR_DEPTH - 1)

    def owe(self, sats: int, address: str | None = None) -> Customer:
        """A customer asks for his money; the processor accepts."""
        address = address or str(self.network.miner.getnewaddress())
        script = script_of(self.network.rpc, address)
        customer = Customer(self._next_id(), address, script, sats)
        self.customers.append(customer)
        self.party.processor.enqueue(customer.request_id, address, sats)
        return customer

    def _next_id(self) -> str:
        return f"payout-{sum(1 + len(c.before) for c in self.customers) + 1:03d}"

    def begin(self, sats: int, *coin_sats: int, address: str | None = None) -> bytes:
        """The usual beginning: coins, a customer, a round of work; what was signed for him."""
        self.fund(*coin_sats)
        return self.begin_work(sats, address)

    def begin_work(self, sats: int, address: str | None = None) -> bytes:
        """The same, where the coins are there already."""
        self.owe(sats, address)
        self.tell(OWED, f"{btc_of(sats)} BTC")
        raw = self.last_signed()
        self.tell(SIGNED, f"txid {ids_of(raw).txid}")
        return raw

    # ---------------------------------------------------------------------------------------------------- the middle

    def attack(self, class_id: str, raw: bytes, label: str = ATTACK) -> bytes:
        """The attacker re-encodes a transaction and has his twin mined; the twin."""
        twin = self.twin_of(raw, class_id)
        self.attacker.get_mined(twin, class_id)
        ids, before = ids_of(twin), ids_of(raw)
        self.tell(label, f"mined as {ids.txid}" if ids.txid != before.txid else f"txid stays, wtxid {ids.wtxid}")
        return twin

    def twin_of(self, raw: bytes, class_id: str) -> bytes:
        """The attacker makes the same payment in another encoding, and does nothing with it yet."""
        twin = self.attacker.twin_of(raw, class_id)
        self.exhibit(Role.TWIN, twin, f"{class_id} twin")
        return twin

    def work(self) -> None:
        """Let the processor do what waits."""
        self.party.processor.tick()
        if not self.party.shows_transactions:
            self._seen.look()

    def ask(self, customer: Customer | None = None) -> None:
        """Somebody asks whether it is confirmed; what he hears is what the processor goes by."""
        self.tell(ASKED, self.party.is_it_confirmed((customer or self.customer).request_id))

    def complain(self, customer: Customer | None = None) -> bool:
        """The customer says that nothing arrived, and support clicks retry; whether another payment of him is seen."""
        customer = customer or self.customer
        before = self.signed_for(customer)
        answer = self.party.processor.support_retry(customer.request_id)
        new = [raw for raw in self.signed_for(customer) if raw not in before]
        raised = bool(before) and all(_outpoints(raw) & _outpoints(before[-1]) for raw in new)
        self.expect("retry pays nobody", holds=not answer.paid_again and (raised or not new))
        if not answer.paid_again or not new:
            self.tell(RETRY, answer.words)
            return False
        again = new[-1]
        others = _outpoints(again).isdisjoint(frozenset().union(*map(_outpoints, before)))
        self.tell(RETRY, f"signs {ids_of(again).txid} from {'other' if others else 'the same'} coins")
        return True

    def nobodys_address(self) -> str:
        """An address that no wallet of the node's watches: none sees, keeps or repeats what is paid to it."""
        return str(self.network.rpc.decodescript(f"0014{secrets.token_hex(20)}")["address"])

    def cancel(self, customer: Customer | None = None, label: str = "the exchange cancels") -> bool:
        """The exchange wants to give a customer his money back; if it may, he asks for it again under a new id.

        So who is refunded and paid all the same has twice what he is owed, and the chain shows it.
        """
        customer = customer or self.customer
        if not self.party.processor.cancel(customer.request_id):
            self.tell(label, "refused: it is too late for that")
            return False
        anew = replace(customer, request_id=self._next_id(), before=(*customer.before, customer.request_id))
        self.customers[self.customers.index(customer)] = anew
        self.tell(label, "accepted: his balance is given back, and he asks again")
        self.party.processor.enqueue(anew.request_id, anew.address, anew.sats)
        return True

    def owner_moves(self, raw: bytes) -> bytes:
        """The owner, or whoever has the keys too, moves the coins of a signed payment to the same wallet, by hand."""
        address = self.party.processor.deposit_address(self.coins[0])
        moved = self.attacker.move_by_hand(raw, address)
        self.exhibit(Role.FOREIGN, moved, "moved by hand")
        self.network.mine_exactly([moved.hex()])
        self.tell_txid("the owner moves its coin", "by hand, mined as", moved)
        return moved

    def explain(self, raw: bytes) -> None:
        """An operator says what that was, where the processor wants to know."""
        words = self.party.explain(ids_of(raw).txid)
        self.tell("an operator is asked", words)

    def restore(self) -> None:
        """The books are lost, and the last copy takes their place; the exchange asks for all it ever asked for."""
        for customer in self.customers:
            self._forgotten[customer.request_id] = self.ever_signed_for(customer)
        self.party.restore()
        self.tell("the disk dies", "the backup is put in place")
        self.repeat()

    def repeat(self) -> None:
        """The exchange sends every request once more, under the same ids."""
        for customer in self.customers:
            self.party.processor.enqueue(customer.request_id, customer.address, customer.sats)

    def recover(self) -> None:
        """Operators do what is to be done after a restore, and the exchange repeats its ids."""
        self.tell("operators", self.party.recover())
        self.repeat()

    def turn_back(self, depth: int, *blocks: Sequence[bytes]) -> None:
        """A longer branch that begins with these blocks; whatever stood in the lost ones is sent again by somebody.

        A node drops more than it must on the way down: what spends a coinbase that is young at the lower height.
        """
        rpc, tip = self.network.rpc, self.network.height
        lost = [rpc.getblock(rpc.getblockhash(height), 2)["tx"][1:] for height in range(tip - depth + 1, tip + 1)]
        rest: list[list[str]] = [[] for _ in range(depth + 1 - len(blocks))]
        mined = [[raw.hex() for raw in block] for block in blocks]
        self.network.reorg(depth, new_blocks=depth + 1, transactions=[*mined, *rest])
        for raw in (tx["hex"] for block in lost for tx in block):
            with contextlib.suppress(RpcError):  # mined again already, or it lost its coin: then nobody needs it
                rpc.sendrawtransaction(raw)

    def others_send_again(self) -> None:
        """Whoever has seen what was signed for the customers sends it again, all of it.

        A lower tip drops from a mempool whatever has a later lock time, as wallets set it by lot, and it is as valid.
        """
        self.weather.send_again(*(raw for customer in self.customers for raw in self.ever_signed_for(customer)))

    def mine_what_waits(self) -> None:
        """A block with everything in the mempool, and a round of work."""
        self.network.mine()
        self.work()

    # ------------------------------------------------------------------------------------------------------- the end

    def curtain(self) -> None:
        """Everything that waits is mined and buried, and the processor sees it, with time for second thoughts.

        What pays twice may need a round for each of its states, or for somebody to complain, when all seems over.
        """
        self.network.mine(FINAL_DEPTH)
        self.work()
        for _ in range(CURTAIN_ROUNDS):
            self.mine_what_waits()
        told = len(self.moments)
        paid_again = [self.complain(customer) for customer in self.customers]
        if not any(paid_again):
            del self.moments[told:]  # nothing came of it, and the report has heard the like before
        self.work()
        self.mine_leftovers()
        over = any(sum(p.sats for p in self.payments_of(c)) > c.sats for c in self.customers)
        words = "PAID TWICE" if over else "paid once" if self.paid_sats == self.owed_sats else "not paid"
        self.tell(ON_CHAIN, f"{btc_of(self.paid_sats)} BTC  {words}")

    def mine_leftovers(self) -> None:
        """When all is buried nothing waits that pays a customer; what does is mined, so that the chain shows it."""
        waits = bool(self.waiting_payments())
        self.expect("nobody is paid once more when all is buried", holds=not waits)
        if waits:
            self.network.mine()

    def waiting_payments(self) -> list[str]:
        """What pays a customer and is in no block yet."""
        rpc, scripts = self.network.rpc, {customer.script_hex for customer in self.customers}
        waiting = {txid: rpc.getrawtransaction(txid, 1)["vout"] for txid in rpc.getrawmempool()}
        return [txid for txid, vout in waiting.items() if any(o["scriptPubKey"]["hex"] in scripts for o in vout)]

    def record(self) -> Record:
        """Everything that a report draws."""
        signed = dict.fromkeys(raw for customer in self.customers for raw in self.ever_signed_for(customer))
        attempts = [Exhibit(Role.ATTEMPT, raw, f"attempt {n}") for n, raw in enumerate(signed, 1)]
        mine = {exhibit.wtxid for exhibit in attempts}
        exhibits = (*attempts, *(exhibit for exhibit in self.exhibits if exhibit.wtxid not in mine))
        blocks = blocks_with(self.network.rpc, exhibits, self.start_height)
        customers = tuple((c.request_id, c.script_hex, c.sats) for c in self.customers)
        return Record(tuple(self.moments), exhibits, blocks, customers)

    @property
    def owed_sats(self) -> int:
        """What all customers are owed together."""
        return sum(customer.sats for customer in self.customers)

    @property
    def paid_sats(self) -> int:
        """What all customers have on chain together."""
        return sum(p.sats for c in self.customers for p in self.payments_of(c))

    def payments_of(self, customer: Customer) -> Sequence[ChainPayment]:
        """What one customer has on chain. Of several at one address each has one output, and the last has the rest."""
        found = payments_to(self.network.rpc, customer.script_hex, self.start_height)
        neighbours = [c for c in self.customers if c.script_hex == customer.script_hex]
        place = neighbours.index(customer)
        return found[place:] if customer == neighbours[-1] else found[place : place + 1]


def _outpoints(raw: bytes) -> frozenset[tuple[bytes, int]]:
    """What a transaction spends."""
    return frozenset((i.prevout.hash, i.prevout.n) for i in parse_transaction(raw).vin)
