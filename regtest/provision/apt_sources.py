"""Which Debian mirrors this machine's own apt sources name, in either of apt's two formats (man sources.list)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

_ONE_LINE = re.compile(r"^deb(?:\s+\[[^\]]*\])?\s+(?P<uri>\S+)\s+(?P<suite>\S+)(?P<components>(?:\s+\S+)*)$")
_NOT_MIRRORS = re.compile(r"-security|-backports|/debian-debug|^cdrom:")


def debian_mirrors(etc_apt: Path) -> list[str]:
    """The URIs that may carry Debian's main archive, likeliest first: those with `debian` in their path or host.

    A machine's third-party repositories come last: they fail at their index, which is not signed by Debian.
    """
    found: list[str] = []
    for path in (etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))):
        if path.is_file() and path.suffix in {".list", ".sources"}:
            text = path.read_text(encoding="utf-8", errors="replace")
            found += one_line_uris(text) if path.suffix == ".list" else deb822_uris(text)
    mirrors = [uri for uri in dict.fromkeys(uri.rstrip("/") for uri in found) if not _NOT_MIRRORS.search(uri)]
    return sorted(mirrors, key=_unlikeliness)


def one_line_uris(text: str) -> Iterator[str]:
    """The URIs of `deb [options] URI suite component...` lines that offer the component main."""
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match and "main" in match["components"].split():
            yield match["uri"]


def deb822_uris(text: str) -> Iterator[str]:
    """The URIs of enabled deb822 stanzas of type deb that offer the component main."""
    for stanza in re.split(r"\n(?:[ \t]*\n)+", text):
        fields = _fields(stanza)
        enabled = fields.get("enabled", "yes").lower() not in {"no", "false", "0", "off", "without", "disable"}
        if enabled and "deb" in fields.get("types", "").split() and "main" in fields.get("components", "").split():
            yield from fields.get("uris", "").split()


def _fields(stanza: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in stanza.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in {" ", "\t"}:
            fields[name] = f"{fields.get(name, '')} {line.strip()}"
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _unlikeliness(uri: str) -> int:
    path_ends_so, named_so = uri.endswith("/debian"), "debian" in uri
    return 0 if path_ends_so else 1 if named_so else 2
