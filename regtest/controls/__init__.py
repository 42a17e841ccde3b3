"""Controls that must lose: withdrawal systems as they are run, honest and careful but for one habit each.

Each writes down before it sends, takes a repeated id for the same withdrawal, never sends while a payment is under way,
and pays everybody exactly once as long as nobody interferes. Where one of them loses and another processor holds, the
difference is that habit and nothing else. A story in which no control loses has no teeth.
"""

from __future__ import annotations

from regtest.controls.batch_verdict import batch_verdict
from regtest.controls.core_wallet import core_wallet
from regtest.controls.gate_only import gate_only
from regtest.controls.resend_on_error import resend_on_error

__all__ = ["batch_verdict", "core_wallet", "gate_only", "resend_on_error"]
