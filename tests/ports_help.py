"""A port for a server that a test starts a little later."""

from __future__ import annotations

import random
import socket


def free_port() -> int:
    """Return a port of the loopback that nobody listens to, below those that outgoing connections are given meanwhile."""
    for port in random.SystemRandom().sample(range(20_000, 32_000), 100):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise OSError("a hundred ports were taken")
