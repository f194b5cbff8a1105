"""A TCP connection that can be cut: what lies between a gateway and its broker."""

from __future__ import annotations

import selectors
import socket
import threading

from tests.parts.mosquitto import free_port


class Proxy:
    """Passes bytes between 127.0.0.1:`port` and the target until `cut`, again from `mend` on.

    cut: connections are closed and new ones closed at once. freeze: nothing passes and nobody is
    told, as with a mobile link that has gone dead.
    """

    def __init__(self, target_port: int) -> None:
        self._target = target_port
        self.port = free_port()
        self._listener = socket.create_server(("127.0.0.1", self.port))
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._lock = threading.Lock()
        self._state = "open"
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        with self._lock:
            self._state = "cut"
            for one in list(self._pairs):
                self._close(one)

    def freeze(self) -> None:
        self._state = "frozen"

    def mend(self) -> None:
        with self._lock:
            if self._state == "frozen":
                # What was sent into the dead link is gone, and so are its connections.
                for one in list(self._pairs):
                    self._close(one)
            self._state = "open"

    def close(self) -> None:
        self._stopping = True
        self._thread.join()
        with self._lock:
            for one in list(self._pairs):
                self._close(one)
        self._listener.close()
        self._selector.close()

    def _run(self) -> None:
        while not self._stopping:
            if self._state == "frozen":
                threading.Event().wait(0.05)
                continue
            for key, _ in self._selector.select(0.05):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._pass(key.fileobj)  # type: ignore[arg-type]

    def _accept(self) -> None:
        near, _ = self._listener.accept()
        if self._state != "open":
            near.close()
            return
        try:
            far = socket.create_connection(("127.0.0.1", self._target), 5)
        except OSError:
            near.close()
            return
        for one, other in ((near, far), (far, near)):
            self._pairs[one] = other
            self._selector.register(one, selectors.EVENT_READ)

    def _pass(self, one: socket.socket) -> None:
        if one not in self._pairs:
            return
        try:
            data = one.recv(65_536)
            if data:
                self._pairs[one].sendall(data)
                return
        except OSError:
            pass  # Broken or ended: both ends go.
        self._close(one)

    def _close(self, one: socket.socket) -> None:
        if one not in self._pairs:
            return
        for end in (one, self._pairs[one]):
            del self._pairs[end]
            self._selector.unregister(end)
            end.close()
