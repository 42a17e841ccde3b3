"""A release server on the loopback interface, for tests of what is downloaded from it."""

from __future__ import annotations

import hashlib
import http.server
import io
import tarfile
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from regtest.provision import Release, Settings

VERSION_SCRIPT = "#!/bin/sh\necho 'Bitcoin {flavour} daemon version v{version}'\n"


def fake_bitcoind(path: Path, version: str = "31.1.0", flavour: str = "Core") -> Path:
    """A program that answers `--version` the way bitcoind does."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(VERSION_SCRIPT.format(flavour=flavour, version=version), encoding="ascii")
    path.chmod(0o755)
    return path


def archive(version: str = "31.1.0", extra: Mapping[str, tarfile.TarInfo] | None = None) -> bytes:
    """A release archive in the layout of the real one, with a script in place of bitcoind."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        script = VERSION_SCRIPT.format(flavour="Core", version=version).encode()
        member = tarfile.TarInfo("bitcoin-31.1/bin/bitcoind")
        member.size, member.mode = len(script), 0o755
        tar.addfile(member, io.BytesIO(script))
        for info in (extra or {}).values():
            tar.addfile(info)
    return buffer.getvalue()


@dataclass
class ReleaseServer:
    """Serves `files` by path; `cut` bytes are missing from the end of each, though announced."""

    cache: Path
    apt_sources: Path
    files: dict[str, bytes] = field(default_factory=dict)
    cut: int = 0
    requests: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        """Listen."""
        outer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.requests[self.path] += 1
                content = outer.files.get(self.path)
                if content is None:
                    self.send_error(404)
                    return
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content[: len(content) - outer.cut])

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True)
        self.thread.start()

    @property
    def url(self) -> str:
        """The base URL."""
        return f"http://127.0.0.1:{self.server.server_address[1]}"

    def close(self) -> None:
        """Stop listening."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()

    def publish(self, content: bytes) -> Settings:
        """Serve `content` as the release and return settings that pin its hash and find no Debian mirror."""
        release = Release("31.1", "x86_64-linux-gnu", hashlib.sha256(content).hexdigest())
        self.files[f"/{release.path}"] = content
        return Settings(
            cache=self.cache, bundled=True, releases_url=self.url, release=release, apt_sources=self.apt_sources
        )
