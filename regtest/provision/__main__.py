"""`python -m regtest.provision` prints the node and the Redis server that the harness would use."""

from __future__ import annotations

import shlex
import sys

from regtest.provision import ExternalRedis, ProvisionError, provide_bitcoind, provide_redis


def main() -> int:
    """Print both to stdout and return 0, or say on stderr what is missing and return 1."""
    try:
        node, redis = provide_bitcoind(), provide_redis()
    except ProvisionError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    sys.stdout.write(f"node   {node}\n       {shlex.join(node.command)}\n")
    if isinstance(redis, ExternalRedis):
        sys.stdout.write(f"redis  {redis.url} (REDIS_URL)\n")
    else:
        sys.stdout.write(f"redis  {redis}\n       {redis.path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
