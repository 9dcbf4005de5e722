"""A socket that listens before the dashboard is loaded: who opens its page in that moment waits, and is not refused."""

from __future__ import annotations

import errno
import socket

from slimfront.studies.errors import StudyError

_WAITING = 64  # connections that may wait


def listen(host: str, port: int) -> socket.socket:
    """Take a TCP port; connections wait until somebody accepts them.

    Args:
        host: Address or name to listen on. An empty one would mean every address, and is refused.
        port: 0 takes any free one.

    Raises:
        StudyError: The address or the port cannot be had.
    """
    if not host.strip():
        raise StudyError(
            "--host must name an address: 127.0.0.1, this machine alone, or 0.0.0.0, whoever can reach it."
        )
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(_WAITING)
    except (OSError, OverflowError) as error:
        listening.close()
        busy = isinstance(error, OSError) and error.errno == errno.EADDRINUSE
        reason = "is taken: choose another with --port" if busy else f"cannot be had: {error}"
        raise StudyError(f"Port {port} on {host} {reason}.") from None
    return listening


def address_of(host: str, listening: socket.socket) -> str:
    """What a browser is given: "http://127.0.0.1:8080/"."""
    return f"http://{f'[{host}]' if ':' in host else host}:{listening.getsockname()[1]}/"
