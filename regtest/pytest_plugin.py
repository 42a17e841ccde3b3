"""The pytest plugin: `pytest --withdrawal-processor=...` plays the attack kit, one test for each cell.

pytest loads this module in every project that has the package installed, so it imports nothing but pytest. The kit is
imported when a processor is named, and not before.
"""

from __future__ import annotations

import pytest

MARKER = "withdrawal_cell"


def pytest_addoption(parser: pytest.Parser) -> None:
    """The options, in a group of their own."""
    group = parser.getgroup("withdrawals", "attacks on a withdrawal processor")
    group.addoption(
        "--withdrawal-processor",
        metavar="WHO",
        help="whom to attack: withdrawals, a control's name, module:factory, cmd:COMMAND, or http://127.0.0.1:PORT",
    )
    for what, example in (("scenario", "mtgox"), ("class", "T02b"), ("ending", "mutant-wins")):
        group.addoption(
            f"--withdrawal-{what}",
            action="append",
            default=[],
            metavar="GLOB",
            help=f"only this {what}, such as {example}; may be repeated. By default everything is played",
        )
    group.addoption(
        "--withdrawal-complete",
        action="store_true",
        help="fail the cells that need what the processor does not offer; by default they are skipped",
    )
    group.addoption("--withdrawal-node", metavar="PATH", help="the bitcoind to use; by default one is found or fetched")


def pytest_configure(config: pytest.Config) -> None:
    """Let `-m withdrawal_cell` choose the cells, and `-m 'not withdrawal_cell'` everything else."""
    config.addinivalue_line("markers", f"{MARKER}: a cell of the attack kit, played to a withdrawal processor")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    """Add the cells, before anything is deselected."""
    if config.getoption("withdrawal_processor"):
        from regtest.pytest_cells import collected_cells  # noqa: PLC0415 - see above

        items.extend(collected_cells(session))
