"""Every error this project raises on purpose, in one tree.

    WithdrawalsError                   .code is stable, for machines; the message is for people
    |-- TheirError                     the caller's input is wrong; nothing was stored
    |   |-- InvalidId                  malformed_id
    |   |-- InvalidAmount              invalid_amount
    |   |-- InvalidAddress             malformed_address and its children
    |   |-- DuplicateRequest           duplicate_request: the same id with another body (I5)
    |   |-- UnknownId                  unknown_id
    |   |-- NotAllowed                 not_allowed: the lifecycle forbids it (cancel after asking, ...)
    |   |-- MissingReason              missing_reason
    |   |-- MalformedFile              malformed_file: carries every bad line
    |   |-- MalformedLine              malformed_line: a line of such a file is no request at all
    |   |-- OutOfRange                 out_of_range: a number that is no amount (a position, a feerate, a height)
    |   `-- ConfigError                bad_config
    |-- WorldError                     the world is not as it must be; nothing was done, try later or call ops
    |   |-- NodeUnavailable            node_unavailable: no connection, or not ready
    |   |-- NodeRejected               node_rejected: the node answered with an error that we understand
    |   |-- ScanInProgress             scan_in_progress: the node reads its UTXO set for somebody else
    |   |-- OutcomeUnknown             outcome_unknown: the call may have taken effect
    |   |-- WrongChain                 wrong_chain: not the identity that `init` recorded
    |   |-- GateClosed                 gate_closed: the world gate refuses (I6)
    |   |-- BreakerOpen                breaker_open
    |   |-- StaleLedger                stale_ledger: the journal knows more than the ledger (I12)
    |   |-- JournalDamaged             journal_damaged: the keys' journal is not what was written to it (I12)
    |   |-- SignerUnavailable          signer_unavailable
    |   |-- LeaseLost                  lease_lost: another follower holds the lease
    |   |-- TipMoved                   tip_moved: decided on another tip than the ledger now has
    |   |-- LedgerBusy                 ledger_busy: another process holds the database
    |   |-- LedgerUnavailable          ledger_unavailable: its disk is full or fails, or its database does not answer
    |   `-- BackupFailed               backup_failed: the copy could not be finished, and nothing of it is left
    `-- OurError                       our own mistake, or somebody broke an invariant: crash, do not go on
        |-- InvariantBroken            invariant_broken
        |   `-- OrderRefused           order_refused: the signer's own checks refused; no key was used
        `-- ConstraintBroken           constraint_broken: a named constraint of the ledger refused a write

Expected outcomes are values, not exceptions; these are for what should not happen on a good day.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from withdrawals.core.model import JournalLine

T = TypeVar("T")
_SHOWN_CHARACTERS = 200
_SHOWN_LINES = 20


class WithdrawalsError(Exception):
    """Base of all errors raised on purpose."""

    code: ClassVar[str] = "error"


class TheirError(WithdrawalsError):
    """The caller's input is wrong; nothing was stored."""

    code = "bad_input"


class FieldError(TheirError):
    """A field of the input is wrong: names the field, the value and what would be accepted."""

    code = "bad_field"

    def __init__(self, field: str, value: object, accepted: str) -> None:
        self.field, self.value, self.accepted = field, value, accepted
        shown = repr(value)
        if len(shown) > _SHOWN_CHARACTERS:  # a message is read in a log, where a pasted file helps nobody
            shown = f"{shown[:_SHOWN_CHARACTERS]}... ({len(shown)} characters)"
        super().__init__(f"{field}: {shown} is not acceptable; accepted: {accepted}")


class InvalidId(FieldError):
    """An id is malformed."""

    code = "malformed_id"


class InvalidAmount(FieldError):
    """An amount is no positive whole number of satoshis up to 21 million BTC."""

    code = "invalid_amount"


class InvalidAddress(FieldError):
    """An address cannot be read as any known form."""

    code = "malformed_address"


class AddressChecksum(InvalidAddress):
    """The address has a wrong checksum: a typing error, most likely."""

    code = "address_checksum"


class AddressWrongNetwork(InvalidAddress):
    """The address belongs to another network."""

    code = "address_wrong_network"


class AddressMixedCase(InvalidAddress):
    """A bech32 address mixes upper and lower case (BIP173 forbids it)."""

    code = "address_mixed_case"


class AddressEncodingMixup(InvalidAddress):
    """Bech32 where BIP350 demands bech32m, or the reverse."""

    code = "address_bech32_mixup"


class AddressUnknownProgram(InvalidAddress):
    """A witness program that nobody is known to be able to spend safely (unknown version, pay-to-anchor)."""

    code = "address_unknown_program"


class AddressIsOurs(InvalidAddress):
    """The address is one of the hot wallet's own."""

    code = "address_is_ours"


class DustAmount(InvalidAmount):
    """The output would be dust: no node relays it (Core's policy/policy.cpp, GetDustThreshold)."""

    code = "dust"


class DuplicateRequest(TheirError):
    """The request id was used before with another body (another scriptPubKey or amount)."""

    code = "duplicate_request"


class UnknownId(TheirError):
    """Nothing in the ledger goes by that id."""

    code = "unknown_id"


class NotAllowed(TheirError):
    """The lifecycle forbids it in this state."""

    code = "not_allowed"


class MissingReason(TheirError):
    """What changes state by hand needs a reason."""

    code = "missing_reason"


class MalformedFile(TheirError):
    """A bulk file has bad lines; nothing of it was stored."""

    code = "malformed_file"

    def __init__(self, path: str, problems: tuple[tuple[int, str, str], ...]) -> None:
        self.path, self.problems = path, problems
        """problems: (line number from 1, or 0 for the whole file; error code; message), all of them."""
        listed = [f"line {n}: [{code}] {message}" if n else message for n, code, message in problems[:_SHOWN_LINES]]
        more = len(problems) - len(listed)
        listed += [f"and {more} more"] if more else []
        super().__init__(f"{path}: {len(problems)} problem(s), nothing stored: {'; '.join(listed)}")


class MalformedLine(TheirError):
    """A line of a bulk file is no request at all."""

    code = "malformed_line"


class OutOfRange(FieldError):
    """A number that is no amount is not within its bounds."""

    code = "out_of_range"


class ConfigError(TheirError):
    """The configuration is incomplete or contradicts itself."""

    code = "bad_config"


class WorldError(WithdrawalsError):
    """The world is not as it must be. Nothing was done; try later, or call a person."""

    code = "world"


class NodeUnavailable(WorldError):
    """The node cannot be reached, or is still warming up. The call had no effect."""

    code = "node_unavailable"


class NodeRejected(WorldError):
    """The node answered with an error: `.rpc_code` and `.rpc_message` are its words."""

    code = "node_rejected"

    def __init__(self, method: str, rpc_code: int, rpc_message: str) -> None:
        self.method, self.rpc_code, self.rpc_message = method, rpc_code, rpc_message
        super().__init__(f"{method}: node says {rpc_code}: {rpc_message}")


class ScanInProgress(WorldError):
    """The node is scanning its UTXO set already, and does one scan at a time. The call had no effect."""

    code = "scan_in_progress"


class OutcomeUnknown(WorldError):
    """A call that may have taken effect got no reply. Never a reason to pay; always a reason to look."""

    code = "outcome_unknown"


class WrongChain(WorldError):
    """The node's chain, or the wallet, is not the one that `init` recorded."""

    code = "wrong_chain"


class GateClosed(WorldError):
    """The world gate refuses to plan or sign (I6)."""

    code = "gate_closed"


class BreakerOpen(WorldError):
    """The breaker is open: nothing new is planned or signed until an operator resumes."""

    code = "breaker_open"


class StaleLedger(WorldError):
    """The keys' journal is not where the ledger thinks it is: a restored, forked or copied ledger must not sign (I12).

    `lines` are the journal's lines after `ledger_head`, oldest first; None if the journal does not contain that head.
    """

    code = "stale_ledger"

    def __init__(self, ledger_head: str, journal_head: str, lines: tuple[JournalLine, ...] | None) -> None:
        self.ledger_head, self.journal_head, self.lines = ledger_head, journal_head, lines
        known = "a head the journal never had" if lines is None else f"{len(lines)} line(s) behind the journal"
        super().__init__(f"the ledger's journal head {ledger_head[:12]} is {known} (journal head {journal_head[:12]})")


class JournalDamaged(WorldError):
    """The keys' journal is not what was written to it, or vanished while in use: the signer refuses (I12)."""

    code = "journal_damaged"


class SignerUnavailable(WorldError):
    """The signer cannot be asked now (locked by another process, key file missing)."""

    code = "signer_unavailable"


class LeaseLost(WorldError):
    """Another follower took the lease; nothing of this block was written."""

    code = "lease_lost"


class TipMoved(WorldError):
    """The ledger's tip is not the one that this decision was made on; nothing was written."""

    code = "tip_moved"


class LedgerBusy(WorldError):
    """Another process holds the ledger's write lock for too long; nothing was written."""

    code = "ledger_busy"


class LedgerUnavailable(WorldError):
    """The ledger's disk is full or fails, or its database does not answer. Nothing was acted on that is not stored.

    Raised by a commit whose sync failed, it leaves open whether that took effect: ask again with the same ids.
    """

    code = "ledger_unavailable"


class BackupFailed(WorldError):
    """A copy of the ledger could not be finished and made durable; nothing of it is left."""

    code = "backup_failed"


class OurError(WithdrawalsError):
    """Our own mistake: stop rather than go on."""

    code = "our_mistake"


class InvariantBroken(OurError):
    """A condition that guards money does not hold."""

    code = "invariant_broken"


class OrderRefused(InvariantBroken):
    """The signer's own checks refused an order before it was journalled; `.problems` says why. No key was used."""

    code = "order_refused"

    def __init__(self, batch_id: str, plan_number: int, problems: tuple[str, ...]) -> None:
        self.batch_id, self.plan_number, self.problems = batch_id, plan_number, problems
        super().__init__(f"plan {plan_number} of {batch_id} is not signed: {'; '.join(problems)}")


class ConstraintBroken(OurError):
    """A named constraint of the ledger refused a write; `.constraint` is its name."""

    code = "constraint_broken"

    def __init__(self, constraint: str) -> None:
        self.constraint = constraint
        super().__init__(f"the ledger's constraint {constraint} refused the write")


def ensure(condition: object, why: str) -> None:
    """Raise `InvariantBroken` unless the condition holds. Used instead of `assert`, which `python -O` drops."""
    if not condition:
        raise InvariantBroken(why)


def known(value: T | None, why: str) -> T:
    """The value, which cannot be None here: raises `InvariantBroken` if it is."""
    if value is None:
        raise InvariantBroken(why)
    return value
