"""What each class goes back to: the rule of BIP62 or of a later text, and since when nodes and blocks enforce it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

_SEGWIT: Final = "height 481,824, with segwit"


@dataclass(frozen=True, slots=True)
class Source:
    """One source of malleability, as the literature numbers it."""

    name: str
    relay: str
    """Since which version of Bitcoin Core its relay policy refuses it."""
    consensus: str
    """Since when blocks are refused for it."""


NON_DER: Final = Source("BIP62 rule 1: signatures not in strict DER", "0.8.0", "BIP66, height 363,725")
UNPADDING: Final = Source("BIP62 rule 1, turned round", "never: the mutant is in order", "never")
NON_PUSH: Final = Source(
    "BIP62 rule 2: a scriptSig that does more than push", "0.8 or before", "never for bare scripts"
)
NON_PUSH_P2SH: Final = Source("BIP62 rule 2 within P2SH", "0.8 or before", "BIP16, since April 2012")
LONG_PUSH: Final = Source("BIP62 rule 3: pushes longer than they need be", "0.9.0", "never")
LONG_PUSH_NESTED: Final = Source("BIP62 rule 3 and BIP141's exact push of the program", "0.9.0", _SEGWIT)
PADDED_NUMBER: Final = Source("BIP62 rule 4: numbers with needless zeros", "0.10.0", "never")
HIGH_S: Final = Source("BIP62 rule 5: the other S", "0.10.3 and 0.11.1", "never: BIP146 was not deployed")
SCHNORR_S: Final = Source(
    "BIP62 rule 5, for Schnorr signatures", "with taproot", "height 709,632: BIP340 has no other S"
)
UNUSED_ITEM: Final = Source("BIP62 rule 6: superfluous items", "0.10 or 0.11 (CLEANSTACK)", "never for legacy scripts")
UNUSED_WITNESS: Final = Source("BIP62 rule 6 within segwit (BIP141)", "with segwit", _SEGWIT)
UNUSED_TAPSCRIPT: Final = Source(
    "BIP62 rule 6 within tapscript (BIP342)", "with taproot", "height 709,632, with taproot"
)
DUMMY: Final = Source("BIP62 rule 7: the dummy of CHECKMULTISIG", "0.10.0", "BIP147, " + _SEGWIT)
IGNORED_ITEM: Final = Source("BIP62 rule 7: items that the script ignores", "never", "never")
SIGHASH: Final = Source("BIP62 rule 8: hash types that leave parts open", "never", "never: it is what they are for")
RESIGNED: Final = Source("BIP62 rule 9: the sender signs again", "never", "never: nobody can tell")
SIGNATURE_ORDER: Final = Source("proposed as BIP62's tenth: signatures of a repeated key swapped", "never", "never")
NULLFAIL: Final = Source("BIP146 NULLFAIL: junk where a check has to fail", "0.13.1", "in tapscript alone")
MINIMAL_IF_LEGACY: Final = Source("MINIMALIF, which legacy scripts never had", "never", "never")
MINIMAL_IF: Final = Source("MINIMALIF: truth that is not the number one", "0.13.1", "in tapscript alone")
MINIMAL_IF_TAPSCRIPT: Final = Source("MINIMALIF in tapscript (BIP342)", "with taproot", "height 709,632, with taproot")
CONST_CODE: Final = Source(
    "scriptSigs that run code (SIGPUSHONLY, CONST_SCRIPTCODE)", "0.8 or before", "never for bare scripts"
)
NO_SIGNATURE: Final = Source("spends that nothing is signed for", "never", "never")
EMPTY_SCRIPT_SIG: Final = Source("BIP141: a witness program wants an empty scriptSig", "0.13.1", _SEGWIT)
PROGRAM_PUSH: Final = Source("BIP141: nothing but the program's push", "0.13.1", _SEGWIT)
WITNESS_FORM: Final = Source("BIP141: two items for a key's hash", "0.13.1", _SEGWIT)
STUFFED: Final = Source("BIP141: no witness where no program is", "0.13.1", _SEGWIT)
STUFFED_ANCHOR: Final = Source("a witness stuffed into a program that asks for none", "0.13.1", "never")
ANNEX_SIGNED: Final = Source("BIP341: signatures commit to the annex", "22.0", "height 709,632, with taproot")
ANNEX_FREE: Final = Source("BIP341's annex, which means nothing yet", "22.0", "never")
DEFAULT_SPELLING: Final = Source(
    "BIP341: DEFAULT is said by leaving it out", "with taproot", "height 709,632, with taproot"
)
TWO_LEAVES: Final = Source("BIP341: a leaf at two places of the tree", "never", "never")
