from __future__ import annotations

import copy
import os
import pickle
import stat
from pathlib import Path

import pytest
from coincurve import PrivateKey

from tests.unit.signing_orders import DESCRIPTORS, MASTER, wallet, write_key_file
from withdrawals.core.types import Network, ScriptKind
from withdrawals.errors import ConfigError, SignerUnavailable
from withdrawals.signing.checksum import with_checksum
from withdrawals.signing.keyfile import create_key_file, load_key_file
from withdrawals.signing.scripts import script_from_pubkey

ALL_KINDS = (ScriptKind.P2PKH, ScriptKind.P2SH, ScriptKind.P2WPKH, ScriptKind.P2TR)


def test_a_fresh_key_file_is_private_and_loads(tmp_path: Path) -> None:
    """Mode 0600 whatever the umask, one descriptor of each kind asked for, and the wallet that was announced."""
    before = os.umask(0)
    try:
        made = create_key_file(tmp_path / "keys", Network.REGTEST, ALL_KINDS)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "keys").stat().st_mode) == 0o600
    keys = load_key_file(tmp_path / "keys", Network.REGTEST)
    assert keys.wallet == made
    assert [made.own_scripts(w, 0, 0, 1)[0].kind for w in range(4)] == list(ALL_KINDS)
    for own in (made.own_scripts(w, b, 7, 1)[0] for w in range(4) for b in (0, 1)):
        assert script_from_pubkey(own.kind, PrivateKey(keys.secret_of(own)).public_key.format()) == own.script


def test_no_two_key_files_are_alike(tmp_path: Path) -> None:
    """Seeds come from the system's randomness."""
    one, two = (create_key_file(tmp_path / name, Network.REGTEST) for name in "ab")
    assert one.fingerprint() != two.fingerprint()


def test_keys_are_never_overwritten(tmp_path: Path) -> None:
    """Whatever stands at the path stays: a file, and a link to nowhere."""
    path = write_key_file(tmp_path / "keys")
    before = path.read_bytes()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    for taken in ("keys", "link"):
        with pytest.raises(ConfigError, match="never overwritten"):
            create_key_file(tmp_path / taken, Network.REGTEST)
    assert path.read_bytes() == before
    assert not (tmp_path / "nowhere").exists()


@pytest.mark.parametrize("kinds", [(), (ScriptKind.P2WPKH,) * 2, (ScriptKind.P2WSH,)])
def test_only_kinds_that_we_sign_for_get_keys(tmp_path: Path, kinds: tuple[ScriptKind, ...]) -> None:
    """None, one twice, or a kind without signer is refused, and nothing is written."""
    with pytest.raises(ConfigError):
        create_key_file(tmp_path / "keys", Network.REGTEST, kinds)
    assert not (tmp_path / "keys").exists()


def test_mainnet_keys_need_permission_in_words(tmp_path: Path) -> None:
    """Neither made nor read without it."""
    with pytest.raises(ConfigError, match="mainnet"):
        create_key_file(tmp_path / "keys", Network.MAINNET)
    assert not (tmp_path / "keys").exists()
    made = create_key_file(tmp_path / "keys", Network.MAINNET, allow_mainnet_hot_keys=True)
    with pytest.raises(ConfigError, match="mainnet"):
        load_key_file(tmp_path / "keys", Network.MAINNET)
    assert load_key_file(tmp_path / "keys", Network.MAINNET, allow_mainnet_hot_keys=True).wallet == made
    assert made.descriptors[0].startswith("wpkh([")
    assert "/84h/0h/0h]xpub" in made.descriptors[0]
    with pytest.raises(ConfigError, match="another network"):
        load_key_file(tmp_path / "keys", Network.REGTEST)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o620, 0o602, 0o610, 0o601, 0o700])
def test_a_key_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """Anything beyond reading and writing by its owner."""
    with pytest.raises(ConfigError, match="mode"):
        load_key_file(write_key_file(tmp_path / "keys", mode=mode), Network.REGTEST)


def test_a_stricter_mode_is_fine(tmp_path: Path) -> None:
    """Nobody needs to write keys."""
    assert load_key_file(write_key_file(tmp_path / "keys", mode=0o400), Network.REGTEST).wallet == wallet()


def test_a_key_file_is_a_regular_file(tmp_path: Path) -> None:
    """Not a link, a directory or a pipe; and a pipe does not hang us."""
    real = write_key_file(tmp_path / "real")
    (tmp_path / "link").symlink_to(real)
    (tmp_path / "folder").mkdir(mode=0o700)
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("link", "folder", "pipe"):
        with pytest.raises(ConfigError):
            load_key_file(tmp_path / name, Network.REGTEST)


def test_a_key_file_of_somebody_else_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its owner could change the keys under us."""
    path = write_key_file(tmp_path / "keys")
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid + 1)
    with pytest.raises(ConfigError, match="belongs to"):
        load_key_file(path, Network.REGTEST)


def test_a_missing_key_file_means_no_signer(tmp_path: Path) -> None:
    """It may be mounted later: the world, not the configuration."""
    with pytest.raises(SignerUnavailable):
        load_key_file(tmp_path / "keys", Network.REGTEST)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ((), "no descriptor"),
        ((DESCRIPTORS[0].partition("#")[0],), "line 2.*no checksum"),
        ((DESCRIPTORS[0], DESCRIPTORS[1][:-1] + "!"), "line 3.*checksum"),
        ((wallet().descriptors[2],), "line 2.*no private key"),
        ((DESCRIPTORS[0], DESCRIPTORS[0]), "twice"),
        (("not ümlaut",), "not ASCII"),
        (("#" * 70_000,), "larger"),
    ],
)
def test_a_bad_key_file_is_named_by_line_and_never_quoted(tmp_path: Path, lines: tuple[str, ...], why: str) -> None:
    """The message says where to look; the key is not in it."""
    with pytest.raises(ConfigError, match=why) as caught:
        load_key_file(write_key_file(tmp_path / "keys", lines), Network.REGTEST)
    assert MASTER not in repr(caught.value)
    assert caught.value.__cause__ is None or MASTER not in repr(caught.value.__cause__)


def test_comments_and_empty_lines_are_skipped(tmp_path: Path) -> None:
    """The order of the rest is the order of the wallet."""
    path = write_key_file(tmp_path / "keys", ("", "# pkh", DESCRIPTORS[0], "", "# wpkh", DESCRIPTORS[2], ""))
    descriptors = load_key_file(path, Network.REGTEST).wallet.descriptors
    assert descriptors == (wallet().descriptors[0], wallet().descriptors[2])


def test_keys_show_nothing_and_stay_where_they_are(tmp_path: Path) -> None:
    """No repr, pickle or copy gives them away."""
    keys = load_key_file(write_key_file(tmp_path / "keys"), Network.REGTEST)
    for text in (repr(keys), str(keys), f"{keys}", repr(keys.wallet), repr([keys])):
        assert "prv" not in text
    with pytest.raises(TypeError):
        pickle.dumps(keys)
    with pytest.raises(TypeError):
        copy.deepcopy(keys)


def test_a_private_descriptor_below_the_master_works(tmp_path: Path) -> None:
    """A key file need not hold the master key."""
    from embit.bip32 import HDKey  # noqa: PLC0415  (only to make the fixture)

    account = HDKey.from_base58(MASTER).derive("m/84h/1h/0h").to_base58()
    path = write_key_file(tmp_path / "keys", (with_checksum(f"wpkh({account}/<0;1>/*)"),))
    keys = load_key_file(path, Network.REGTEST)
    (own,) = keys.wallet.own_scripts(0, 1, 5, 1)
    assert own.script == wallet().own_scripts(2, 1, 5, 1)[0].script
    assert script_from_pubkey(own.kind, PrivateKey(keys.secret_of(own)).public_key.format()) == own.script
