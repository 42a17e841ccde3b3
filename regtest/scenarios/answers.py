"""Stories about a node that says no, in all the words there are for it, and what a processor makes of the words."""

from __future__ import annotations

from typing import Final

from regtest.faults import AnswerError, AnswerHttp, DropRequest
from regtest.rpc import btc_of
from regtest.scenarios.hands import befall_sending, is_waiting, refusal, require_sendings, sendings, until
from regtest.scenarios.model import NAIVE_TXID, RESEND_ON_ERROR, Scenario
from regtest.scenarios.stage import OWED, SIGNED, Stage
from regtest.scenarios.twins import COIN, OWED_SATS

REASONS: Final = (
    # Something else spends the coin, or the coin is not there.
    (-26, "txn-mempool-conflict"),
    (-26, "insufficient fee, rejecting replacement 00; new feerate 0.00001 BTC/kvB <= old feerate 0.00002 BTC/kvB"),
    (-26, "replacement-failed"),
    (-26, "bad-txns-spends-conflicting-tx"),
    (-25, "bad-txns-inputs-missingorspent"),
    (-25, "Missing inputs"),
    # Not now.
    (-26, "non-final"),
    (-26, "bad-txns-premature-spend-of-coinbase"),
    (-26, "min relay fee not met"),
    (-26, "mempool full"),
    (-26, "too-long-mempool-chain, too many unconfirmed ancestors [limit: 25]"),
    (-26, "too-large-cluster"),
    (-28, "Loading block index..."),
    # Not at all.
    (-26, "dust"),
    (-26, "scriptpubkey"),
    (-26, "tx-size"),
    (-26, "bad-txns-in-belowout"),
    (-26, "mempool-script-verify-flag-failed (Non-canonical DER signature)"),
    (-25, "Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)"),
    # Nothing that anybody has heard of.
    (-22, "TX decode failed. Make sure the tx has at least one input."),
    (-26, "a reason that the next version invents"),
    (-1, "internal bug detected"),
)
"""What nodes of many versions say of a transaction that they do not take."""
TAKEN: Final = (
    (-26, "txn-mempool-conflict"),
    (-25, "bad-txns-inputs-missingorspent"),
    (-26, "mempool min fee not met"),
)
"""What is said of one that the node has taken, where another answers in its place, or a line that asks twice."""
KNOWN: Final = "txn-same-nonwitness-data-in-mempool"
IN_A_BLOCK: Final = "Transaction outputs already in utxo set"
_DOWN: Final = (AnswerHttp(), DropRequest(), AnswerError(-26, "mempool min fee not met"), AnswerError(-28, "Verifying"))
_OUTAGE: Final = 2
_GRACE_ROUNDS: Final = 3


def every_reason(stage: Stage) -> None:
    """Each reason in turn, while the node has nothing; then it has it, and says that it refuses."""
    stage.fund(COIN)
    stage.fund(COIN)
    for code, words in REASONS:
        befall_sending(stage, refusal(code, words, taken=False), times=1)
    customer = stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    tried = -1
    while tried < sendings(stage) < len(REASONS):
        tried = sendings(stage)
        stage.work()
    require_sendings(stage)
    stage.expect("it is offered again after every refusal", holds=sendings(stage) >= len(REASONS))
    stage.tell("the node refuses", f"{sendings(stage)} times, each time for another reason")
    stage.expect("whatever the reason, no other payment is offered beside the first", holds=stage.is_one_payment())
    stage.complain()
    stage.line.clear()
    for code, words in TAKEN:
        befall_sending(stage, refusal(code, words, taken=True), times=1)
    for _ in TAKEN:
        stage.work()
        stage.complain()
    stage.tell("the node has it", "and goes on saying that it does not")
    stage.line.clear()
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.expect("nothing was ever signed that could stand beside it", holds=stage.is_one_payment(customer))
    stage.curtain()


def reason_is_misread(stage: Stage) -> None:
    """Somebody's copy with another witness came first: known, in a block, spent on. None of it means missing."""
    stage.fund(COIN)
    stage.fund(COIN)
    befall_sending(stage, refusal(-26, KNOWN, taken=True), times=1)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    raw = stage.last_signed()
    require_sendings(stage)
    stage.tell_txid(SIGNED, "txid", raw)
    stage.complain()
    twin = stage.twin_of(raw, "W04")
    stage.network.mine_exactly([twin.hex()])
    stage.network.reorg(1, new_blocks=0)
    stage.network.mine_empty(2)
    stage.tell("a block is undone", "and the mempool has it with another witness than ours")
    befall_sending(stage, refusal(-26, KNOWN, taken=False), times=1)
    stage.work()
    stage.complain()
    stage.line.clear()
    befall_sending(stage, refusal(-27, IN_A_BLOCK, taken=False), times=1)
    stage.network.mine()
    stage.work()
    stage.ask()
    stage.complain()
    stage.line.clear()
    stage.curtain()


def broadcaster_is_down(stage: Stage) -> None:
    """More failures in a row than any counter of retries allows; then the node is back, and nobody tells anybody."""
    stage.fund(COIN)
    outage = _DOWN * _OUTAGE
    for fault in outage:
        befall_sending(stage, fault, times=1)
    stage.owe(OWED_SATS)
    stage.tell(OWED, f"{btc_of(OWED_SATS)} BTC")
    until(len(outage), lambda: sendings(stage) >= len(outage), stage.work)
    require_sendings(stage)
    stage.tell("the node is away", f"{min(sendings(stage), len(outage))} attempts to send ended in an error")
    until(_GRACE_ROUNDS, lambda: _is_sent(stage), stage.work)
    stage.tell("the node is back", "and it is sent, without anybody's help" if _is_sent(stage) else "NOBODY NOTICES")
    stage.expect("no counter runs out: in the end it is sent by itself", holds=_is_sent(stage))
    stage.mine_what_waits()
    stage.ask()
    stage.complain()
    stage.curtain()


def _is_sent(stage: Stage) -> bool:
    return any(is_waiting(stage, raw) for raw in stage.signed)


EVERY_REASON: Final = Scenario(
    name="every-reason",
    title="Every reason to refuse, one after another",
    covers=("P5", "F17"),
    moral="A refusal is an opinion. It was asked to send, and whether it did is not in the answer.",
    play=every_reason,
    losers=(NAIVE_TXID, RESEND_ON_ERROR),
    coins=("bech32",),
    proxied=True,
)

MISREAD: Final = Scenario(
    name="reason-misread",
    title='"Already known" taken for "missing"',
    covers=("P6", "W04", "F16"),
    moral="Three names for having it sound like three ways of not having it. The coin says which.",
    play=reason_is_misread,
    losers=(NAIVE_TXID, RESEND_ON_ERROR),
    coins=("bech32",),
    proxied=True,
)

BROADCASTER_DOWN: Final = Scenario(
    name="broadcaster-down",
    title="More failures than any counter allows",
    covers=("P19",),
    moral="What was signed is offered until a node has it. There is nothing that could run out.",
    play=broadcaster_is_down,
    nobody_loses="A control that gives up leaves him unpaid, and one that goes on sends what no node had yet.",
    coins=("bech32",),
    proxied=True,
)
