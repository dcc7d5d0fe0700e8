"""Words for systemd: sd_notify(3), whose protocol is a datagram and declared stable."""

import os
import socket


def notify(state: str) -> None:
    """Tell the service manager, for example `READY=1` or `STATUS=2 sources`; nothing happens where there is none."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # A leading @ stands for the abstract namespace.
        sock.connect("\0" + address[1:] if address.startswith("@") else address)
        sock.sendall(state.encode())
