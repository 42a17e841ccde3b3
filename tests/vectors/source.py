"""Bitcoin Core's test vectors, out of an archive that requirements/vectors.txt pins by its SHA-256, kept in `.cache`.

None of it is in this repository. btclib publishes Core's files unchanged inside its source distribution and names the
commit of each; nothing of btclib is installed or imported. pip fetches the archive as it fetches every other package,
and each file taken out of it must be the one whose SHA-256 stands here.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tarfile
import tempfile
from functools import cache
from pathlib import Path
from typing import Any, Final

from regtest.provision import ProvisionError, Settings
from regtest.provision.cache import exclusive, installing, say

LOCK: Final = Path(__file__).parents[2] / "requirements" / "vectors.txt"
PACKAGE: Final = "btclib"

FILES: Final = {
    # Core's name: where it lies in the archive, its SHA-256, and the commit of bitcoin/bitcoin it is the file of.
    "script_tests.json": (
        "script_engine/_data/script_tests.json",
        "7fb93dea245f68b627d214e0d51969c4f29fefaae1ac94ca1eba5fe8322f864c",  # 6b8a5524f7e7, October 2026
    ),
    "tx_valid.json": (
        "script_engine/_data/tx_valid.json",
        "0abeb1a6e4b942e4e43ef8d49b7356c1f6204bcb14163f24153f4d0ec5418011",  # 6cd2fa5fb4b6, August 2026
    ),
    "tx_invalid.json": (
        "script_engine/_data/tx_invalid.json",
        "0c02ce44ff3a880458f9569a25589315a07f924fcaadac828613d4615776ca52",  # 429ec1aaaaaf, June 2024
    ),
    "sighash.json": (
        "script/_data/sig_hash_legacy_test_vectors.json",
        "52cf23c2076e7f129c71d5508631d3e5ae3be1b1cb0585c0e23bbb4bb373e924",  # 43cb41859e91, March 2014
    ),
    "key_io_valid.json": (
        "_data/key_io_valid.json",
        "90bd1d35d12763e0d00c5400b2c9fe551e532a821e1e466c20cad3aced70a7fe",  # 7c200ece8057, March 2025
    ),
    "key_io_invalid.json": (
        "_data/key_io_invalid.json",
        "c3ca74ddad7c01faaca7c26063537feb73ff2be03eb7fc83a42a655d2979261d",  # fa506add25cb, April 2022
    ),
    "bip341_wallet_vectors.json": (
        "script/_data/taproot_test_vector.json",
        "403e19fb81dd1f31e745699216308f61fb403774b2aafa87b631b8f7c042d37f",  # BIP341's own; Core keeps a copy
    ),
    "script_assets_test.json": (
        "script/_data/script_assets_test.json",
        "322c09c6d16164c82eddcb55bfd19eb6e87be3ef13fa60b53914ccee376ceaed",  # bitcoin-core/qa-assets b33d85102d16
    ),
}

_PIP: Final = (
    *("download", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps", "--no-build-isolation"),
    *("--no-binary", PACKAGE, "--require-hashes"),
)
_PIP_TIMEOUT_S: Final = 90


class VectorsMissing(ProvisionError):
    """The archive cannot be had, or does not hold the files that it was pinned for."""


@cache
def load(name: str) -> Any:  # noqa: ANN401 - JSON, of another shape in each file
    """What Core's file of this name holds. Raises `VectorsMissing` or `CacheUnwritable`."""
    raw = (_directory() / name).read_bytes()
    _require_pinned(name, raw)  # the cache is a directory like any other
    return json.loads(raw)


def _directory() -> Path:
    """The cached files, fetched if they are not there. Named after the lock: another pin is another entry."""
    cache_dir = Settings.from_environ().cache
    entry_name = f"test-vectors-{hashlib.sha256(LOCK.read_bytes()).hexdigest()[:16]}"
    found = cache_dir / entry_name
    if not found.is_dir():
        with exclusive(cache_dir):
            if not found.is_dir():
                with installing(cache_dir, entry_name) as entry:
                    _fetch(entry)
    return found


def _fetch(entry: Path) -> None:
    """Download the archive and write the pinned files of it into `entry`. Raises `VectorsMissing`."""
    with tempfile.TemporaryDirectory(prefix="test-vectors-") as folder:
        say("fetching Bitcoin Core's test vectors (7 MB)")
        _download(Path(folder))
        for archive in Path(folder).glob("*.tar.gz"):
            for name, raw in unpacked(archive).items():
                (entry / name).write_bytes(raw)
    missing = sorted(name for name in FILES if not (entry / name).is_file())
    if missing:
        raise VectorsMissing(f"{PACKAGE}'s source distribution did not come with {', '.join(missing)}")


def _download(folder: Path) -> None:
    # pip prepares the metadata of every archive it fetches, with the build tool that requirements/build.txt put here.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    command = [sys.executable, "-m", "pip", *_PIP, "--requirement", str(LOCK), "--dest", str(folder)]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            check=False,
            timeout=_PIP_TIMEOUT_S,
            env={**os.environ, "PATH": path},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VectorsMissing(f"Bitcoin Core's test vectors could not be fetched: {error}") from error
    if done.returncode:
        said = " ".join(line.strip() for line in done.stderr.splitlines() if "ERROR" in line.upper())
        raise VectorsMissing(f"Bitcoin Core's test vectors could not be fetched; pip said: {said or done.returncode}")


def unpacked(archive: Path) -> dict[str, bytes]:
    """The pinned files of a source distribution, by Core's names. Raises `VectorsMissing` if one is another."""
    members = {member: name for name, (member, _sha256) in FILES.items()}
    found: dict[str, bytes] = {}
    with tarfile.open(archive) as tar:
        for member in tar:
            _root, _slash, inside = member.name.partition("/")
            name = members.get(inside.removeprefix("tests/"))
            file = tar.extractfile(member) if name else None
            if name and file:
                found[name] = file.read()
                _require_pinned(name, found[name])
    return found


def _require_pinned(name: str, raw: bytes) -> None:
    actual = hashlib.sha256(raw).hexdigest()
    if actual != FILES[name][1]:
        raise VectorsMissing(f"{name} has SHA-256 {actual}, not {FILES[name][1]}")
