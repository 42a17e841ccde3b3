"""Where the servers under test come from: named by the user, installed, cached, or fetched and verified."""

from __future__ import annotations

from regtest.provision.errors import (
    Attempt,
    CacheUnwritable,
    DebianFailed,
    DownloadFailed,
    HashMismatch,
    NoConnection,
    NodeTooOld,
    NothingWorked,
    NotRunnable,
    ProvisionError,
    UnsupportedPlatform,
)
from regtest.provision.node import MINIMUM_MAJOR, NodeProgram, inspect_node, provide_bitcoind
from regtest.provision.redis import ExternalRedis, RedisProgram, provide_redis, provide_redis_program
from regtest.provision.settings import Release, Settings, release_of_platform

__all__ = [
    "MINIMUM_MAJOR",
    "Attempt",
    "CacheUnwritable",
    "DebianFailed",
    "DownloadFailed",
    "ExternalRedis",
    "HashMismatch",
    "NoConnection",
    "NodeProgram",
    "NodeTooOld",
    "NotRunnable",
    "NothingWorked",
    "ProvisionError",
    "RedisProgram",
    "Release",
    "Settings",
    "UnsupportedPlatform",
    "inspect_node",
    "provide_bitcoind",
    "provide_redis",
    "provide_redis_program",
    "release_of_platform",
]
