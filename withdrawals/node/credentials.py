"""Who we are to the node: a name and password that were set up, or the cookie that the node writes at each start."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit, urlunsplit

from withdrawals.errors import ConfigError, NodeUnavailable

_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Login:
    """HTTP Basic authentication. Never shown, not even in a traceback."""

    user: str = field(repr=False)
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class NodeAddress:
    """Where the node is and how to log in: exactly one of `login` and `cookie` is set; `url` carries no secret."""

    url: str
    login: Login | None
    cookie: Path | None


def parse_address(
    url: str, *, cookie: Path | None = None, user: str | None = None, password: str | None = None
) -> NodeAddress:
    """An address from a URL, with the login in the URL, in `user` and `password`, or in a cookie file.

    Raises `ConfigError` unless the URL is http or https with a host, and the login comes from exactly one place.
    """
    try:
        parts = urlsplit(url)
        usable = parts.scheme in _SCHEMES and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number, half an IPv6 address
        usable = False
    if not usable:
        # What cannot be taken apart may hold a password anywhere, so it is not shown.
        raise ConfigError("the node's URL must look like http://127.0.0.1:8332")
    bare = urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path or "/", "", ""))
    logins = []
    if parts.username is not None:
        logins.append(Login(unquote(parts.username), unquote(parts.password or "")))
    if user is not None or password is not None:
        if user is None or password is None:
            raise ConfigError("the node's user and password go together; one of them is missing")
        logins.append(Login(user, password))
    if len(logins) + (cookie is not None) != 1:
        raise ConfigError("log in to the node in one way: in its URL, by user and password, or by its cookie file")
    return NodeAddress(bare, logins[0] if logins else None, cookie)


class Credentials:
    """The login in force. A cookie is read when first needed, and again when the node refuses the one we have."""

    def __init__(self, address: NodeAddress) -> None:
        self._cookie = address.cookie
        self._login = address.login

    def current(self) -> Login:
        """The login to use now. Raises `NodeUnavailable` if the cookie file cannot be read: no node wrote one."""
        if self._login is None:
            self._login = self._read_cookie()
        return self._login

    def renew(self) -> bool:
        """After a refusal: whether there is another login to try, because the node wrote a new cookie."""
        if self._cookie is None:
            return False
        before, self._login = self._login, None
        return self.current() != before

    def _read_cookie(self) -> Login:
        if self._cookie is None:
            raise NodeUnavailable("there is no login for the node")
        try:
            text = self._cookie.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NodeUnavailable(f"the node's cookie {self._cookie} cannot be read: {error}") from error
        user, colon, password = text.partition(":")
        if not colon or not user or not password:
            raise NodeUnavailable(f"the node's cookie {self._cookie} is not user:password")
        return Login(user, password)
