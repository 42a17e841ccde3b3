"""The ten lines of README are run as they stand there."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from regtest.network import Network
from tests.functional.world import World

README = Path(__file__).parents[2] / "README.md"


def example() -> str:
    """The Python block that follows the marker."""
    found = re.search(r"<!-- example: api -->\n```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_ten_lines_pay_a_customer_once(
    module_network: Network,
    make_world: Callable[..., World],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Run once, the request is accepted; run again when it is final, they say by which output it was paid."""
    world = make_world(module_network)
    world.fund_hot_wallet()
    monkeypatch.chdir(world.directory)
    code = compile(example(), str(README), "exec")
    words = {"customer_address": world.customer_address()}
    exec(code, dict(words))  # noqa: S102 -- that is the point
    assert capsys.readouterr().out == ""
    world.tick()
    world.mine_to_final()
    exec(code, dict(words))  # noqa: S102 -- as above
    (attempt,) = world.processor.show("payout-0001").attempts
    assert capsys.readouterr().out.startswith(f"payout-0001 is paid by {attempt.txid} output ")
