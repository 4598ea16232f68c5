"""`python -m tidegate_router.drain`: what the kubelet runs before the agent ends; it ends when nobody is served."""

import http.client
import os
import socket
import sys

from tidegate_contract.router import DRAIN_PATH, DRAIN_SECONDS, END_SOCKET, ENV_FOLDER, SPREAD_SECONDS


class _Local(http.client.HTTPConnection):
    """By a socket in the pod."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(os.path.join(os.environ[ENV_FOLDER], END_SOCKET))


def main() -> int:
    """0 when it is drained."""
    connection = _Local("agent", timeout=SPREAD_SECONDS + DRAIN_SECONDS + 5)
    connection.request("GET", DRAIN_PATH)
    return 0 if connection.getresponse().status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
