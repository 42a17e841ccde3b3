"""A wallet with fixed keys, its key file, and orders to sign: what the signing tests share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from embit.bip32 import HDKey

from withdrawals.core.model import JOURNAL_START, OwnScript, PlannedInput, TxOut
from withdrawals.core.tx import script_of, unsigned_tx
from withdrawals.core.types import BatchId, Network, OutPoint, RequestId, Sats, ScriptKind, ScriptPubKey, Txid
from withdrawals.ports import ApprovedPayment, SigningOrder
from withdrawals.signing.checksum import with_checksum
from withdrawals.signing.descriptors import Wallet, parse_wallet
from withdrawals.signing.hot import HotSigner

MASTER = str(HDKey.from_seed(b"\x07" * 32, version=bytes.fromhex("04358394")).to_base58())
DESCRIPTORS = tuple(
    with_checksum(body)
    for body in (
        f"pkh({MASTER}/44h/1h/0h/<0;1>/*)",
        f"sh(wpkh({MASTER}/49h/1h/0h/<0;1>/*))",
        f"wpkh({MASTER}/84h/1h/0h/<0;1>/*)",
        f"tr({MASTER}/86h/1h/0h/<0;1>/*)",
    )
)
PKH, NESTED, WPKH, TR = range(4)
FEE_SATS = 2_000
FEE_MAX_SATS = Sats(50_000)


@cache
def wallet() -> Wallet:
    """The public side of the fixed keys: one descriptor of each kind."""
    return parse_wallet(DESCRIPTORS, Network.REGTEST)


def write_key_file(path: Path, lines: Sequence[str] = DESCRIPTORS, mode: int = 0o600) -> Path:
    path.write_text("# test keys\n" + "".join(f"{line}\n" for line in lines))
    path.chmod(mode)
    return path


def open_signer(folder: Path, signer_type: type[HotSigner] = HotSigner) -> HotSigner:
    """A signer over `keys` and `journal` in this folder, making the key file if there is none."""
    key_file = folder / "keys"
    if not key_file.exists():
        write_key_file(key_file)
    return signer_type(key_file, folder / "journal", Network.REGTEST, fee_max_sats=FEE_MAX_SATS)


@dataclass(frozen=True)
class Spend:
    """An input to build an order from."""

    wallet: int = WPKH
    branch: int = 0
    index: int = 0
    sats: int = 1_000_000


def customer(number: int) -> ScriptPubKey:
    """A script that is not ours."""
    return script_of(ScriptKind.P2WPKH, number.to_bytes(20, "big"))


@cache
def own(wallet_index: int, branch: int, index: int) -> OwnScript:
    return wallet().own_scripts(wallet_index, branch, index, 1)[0]


def make_order(
    spends: Sequence[Spend] = (Spend(),),
    payments: Sequence[tuple[ScriptPubKey, int]] = ((customer(1), 300_000),),
    *,
    batch: str = "b-1",
    number: int = 1,
    head: str = JOURNAL_START,
    change: OwnScript | None = None,
    outputs: Sequence[TxOut] | None = None,
    locktime: int = 0,
) -> SigningOrder:
    """An order that pays these, gives the rest back to index 3 of the WPKH change branch, and burns FEE_SATS."""
    inputs = tuple(
        PlannedInput(OutPoint(Txid(f"{at + 1:064x}"), at), Sats(s.sats), own(s.wallet, s.branch, s.index))
        for at, s in enumerate(spends)
    )
    approved = tuple(
        ApprovedPayment(RequestId(f"{batch}-r{at}"), script, Sats(sats)) for at, (script, sats) in enumerate(payments)
    )
    if outputs is None:
        rest = sum(i.sats for i in inputs) - sum(p.sats for p in approved) - FEE_SATS
        back = own(WPKH, 1, 3) if change is None else change
        outputs = [*(TxOut(p.script, p.sats) for p in approved), TxOut(back.script, Sats(rest))]
    unsigned = unsigned_tx([(i.outpoint, i.sequence) for i in inputs], outputs, locktime=locktime)
    return SigningOrder(BatchId(batch), number, unsigned, inputs, approved, head)
