"""What can go wrong between the kit and an adapter, each with the message that it happened to.

AdapterError
|-- AdapterUnreachable     no answer: it ended, never said where it listens, does not listen, or takes too long
|-- WrongVersion           it speaks another version of the protocol
|-- WrongAnswer            it answered, and not what the protocol says: names the field
`-- ProcessorFailed        it answered that the processor under test failed, or lacks what every processor must have
"""

from __future__ import annotations

_SHOWN_CHARACTERS = 200


class AdapterError(Exception):
    """An adapter did not do its part. `output` is what it printed last, where the kit started it."""

    def __init__(self, adapter: str, message: str, what: str, output: str = "") -> None:
        self.adapter, self.message, self.what, self.output = adapter, message, what, output
        said = f"\nits output ends:\n{output.rstrip()}" if output.strip() else ""
        super().__init__(f"{adapter}: {message}: {what}{said}")


class AdapterUnreachable(AdapterError):
    """No answer came. Whether it did what it was asked is not known."""


class WrongVersion(AdapterError):
    """The adapter speaks another version of the protocol."""


class WrongAnswer(AdapterError):
    """An answer that the protocol does not have: `.field` of the message is missing or is something else."""

    def __init__(self, adapter: str, message: str, field: str, value: object, accepted: str, output: str = "") -> None:
        self.field, self.value, self.accepted = field, value, accepted
        what = f"{field}: {shown(value)} is not acceptable; accepted: {accepted}"
        super().__init__(adapter, message, what, output)


class ProcessorFailed(AdapterError):
    """The processor under test failed, and its adapter said so: `.kind` and `.words` are its own."""

    def __init__(self, adapter: str, message: str, kind: str, words: str, output: str = "") -> None:
        self.kind, self.words = kind, words
        super().__init__(adapter, message, f"{kind}: {words}", output)


def shown(value: object) -> str:
    """A value for a message: a message is read in a log, where a whole page helps nobody."""
    text = repr(value)
    return text if len(text) <= _SHOWN_CHARACTERS else f"{text[:_SHOWN_CHARACTERS]}... ({len(text)} characters)"
