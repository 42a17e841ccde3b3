"""The kit's side: a processor behind an adapter, which has exactly the offers that the adapter says it has."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from regtest.adapters.errors import AdapterError, ProcessorFailed, WrongAnswer, WrongVersion
from regtest.adapters.line import Line, Patience
from regtest.adapters.protocol import CANNOT_PLAY, METHODS_OF, NOT_OFFERED, OFFERED, SITE_VARIABLE, VERSION, opening_of
from regtest.party import NotOffered
from regtest.process import discard_directory, private_directory
from regtest.processor import CannotPlay, Factory, Site, SupportAnswer

log = logging.getLogger("regtest.adapters")


class RemoteProcessor:
    """A processor that lives behind an adapter. Every method raises `AdapterError`."""

    def __init__(self, line: Line, name: str, directory: Path) -> None:
        self._line, self._name, self._directory = line, name, directory

    @property
    def name(self) -> str:
        """What it calls itself."""
        return self._name

    def start(self) -> None:
        """Bring it up, or up again."""
        self.ask("start")

    def stop(self) -> None:
        """Take its workers down."""
        self.ask("stop")

    def close(self, *, failed: bool = False) -> None:
        """Tell it that this was all, end its process, and delete its directory unless it is to be looked at."""
        try:
            self.ask("close", failed=failed)
        except AdapterError:
            if not failed:
                failed = True
                raise
            # What failed before is told already, and may be why it does not answer.
            log.exception("%s does not close in order", self._line.name)
        finally:
            end(self._line, self._directory, failed=failed)

    def deposit_address(self, kind: str) -> str:
        """A new address of its wallet."""
        return str(self.ask("deposit_address", kind=kind)["address"])

    def enqueue(self, request_id: str, address: str, sats: int) -> None:
        """Accept a withdrawal."""
        self.ask("enqueue", request_id=request_id, address=address, sats=sats)

    def cancel(self, request_id: str) -> bool:
        """Give a withdrawal up."""
        return bool(self.ask("cancel", request_id=request_id)["cancelled"])

    def tick(self) -> None:
        """Do one round of work."""
        self.ask("tick")

    def status(self, request_id: str) -> str:
        """The state, in its own word."""
        return str(self.ask("status", request_id=request_id)["status"])

    def support_retry(self, request_id: str) -> SupportAnswer:
        """Do what its support desk does."""
        answer = self.ask("support_retry", request_id=request_id)
        return SupportAnswer(paid_again=answer["paid_again"], words=answer["words"])

    def ask(self, message: str, **values: object) -> dict[str, Any]:
        """Send one message; the fields of its answer. Raises `AdapterError`, and `NotOffered` if it may be offered.

        What every processor must have is never *not offered*: whoever answers so has failed.
        """
        try:
            return self._line.ask(message, **values)
        except ProcessorFailed as error:
            if error.kind != NOT_OFFERED:
                raise
            if message in OFFERED:
                raise NotOffered(error.words) from error
            words = f"{error.words}: every processor must have this message, so that is a failure"
            raise ProcessorFailed(self._line.name, message, error.kind, words, self._line.output) from error


def end(line: Line, directory: Path, *, failed: bool) -> None:
    """End an adapter's process, if we started one, and let go of its directory."""
    try:
        line.end()
    except AdapterError:
        failed = True
        raise
    finally:
        discard_directory(directory, failed=failed)


# ---------------------------------------------------------------------------------------------------- what it may offer


def class_for(adapter: str, offered: Sequence[str]) -> type[RemoteProcessor]:
    """A processor with just these methods beside what all have: what the kit asks of it is whether they are there.

    Raises `WrongAnswer`: an offer is whole, or none.
    """
    for method in offered:
        if method not in OFFERED:
            raise WrongAnswer(adapter, "offers", "offers", method, ", ".join(OFFERED))
    for methods in METHODS_OF.values():
        here = [method for method in methods if method in offered]
        if here and len(here) < len(methods):
            raise WrongAnswer(adapter, "offers", "offers", here, f"all of {', '.join(methods)}, or none of them")
    return type("RemoteProcessor", (RemoteProcessor,), {method: _asking(method) for method in offered})


def _asking(message: str) -> Callable[..., Any]:
    """A method that asks with the fields of a message, in their order or by name, and returns what is answered."""
    names = tuple(OFFERED[message].asks)

    def ask(self: RemoteProcessor, *values: object, **named: object) -> object:
        asked = dict(zip(names[: len(names) - len(named)], values, strict=True))
        answer = self.ask(message, **asked, **named)
        return next(iter(answer.values()), None)

    return ask


# ---------------------------------------------------------------------------------------------------------- making one


def remote_by_command(command: Sequence[str], patience: Patience = Patience()) -> Factory:  # noqa: B008 - a frozen value
    """A factory that starts the command anew for every site, with the site in its environment too."""

    def make(site: Site) -> RemoteProcessor:
        directory = private_directory("adapter")
        line = Line(f"cmd:{' '.join(command)}", site.label, patience)
        opening = opening_of(site, str(directory))

        def reach() -> None:
            line.start(command, directory / "adapter.txt", {SITE_VARIABLE: json.dumps(opening)})

        return _opened(line, directory, opening, reach)

    return make


def remote_at(address: str, patience: Patience = Patience()) -> Factory:  # noqa: B008 - a frozen value
    """A factory for an adapter that runs already, and tells sites apart by their labels."""

    def make(site: Site) -> RemoteProcessor:
        directory = private_directory("adapter")
        return _opened(Line(address, site.label, patience), directory, opening_of(site, str(directory)), lambda: None)

    return make


def _opened(line: Line, directory: Path, opening: Mapping[str, object], reach: Callable[[], None]) -> RemoteProcessor:
    try:
        reach()
        line.post("open", opening)
        offers = line.fetch_offers()
        _require_version(line, offers["version"])
        return class_for(line.name, offers["offers"])(line, offers["name"], directory)
    except ProcessorFailed as error:
        end(line, directory, failed=error.kind != CANNOT_PLAY)
        if error.kind == CANNOT_PLAY:
            raise CannotPlay(error.words) from error
        raise
    except BaseException:
        end(line, directory, failed=True)
        raise


def _require_version(line: Line, version: int) -> None:
    if version != VERSION:
        what = f"it speaks version {version} of the protocol; accepted: {VERSION}"
        raise WrongVersion(line.name, "offers", what, line.output)
