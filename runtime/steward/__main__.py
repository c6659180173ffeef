"""The steward's loop: look at the member's role, and do what that role is responsible for, once, until it sticks."""

from __future__ import annotations

import signal
import sys
import threading

import psycopg2

from runtime.api import Api, Unanswered
from runtime.log import Log
from runtime.spec import Spec, load
from runtime.steward import certificates, dynamic, roles
from runtime.steward.holders import Keeper
from runtime.trouble import Exit, run

LOG = Log("steward")
LOOK = 2.0  # seconds between looks at the role
CERTIFICATES = 60.0  # seconds between looks at certificates


class Steward:
    """What has been done since this member last changed its role."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.api = Api(spec)
        self.holders = Keeper(spec, self.api, LOG)
        self.done: set[str] = set()
        self.reload = False
        self.until_certificates = CERTIFICATES  # the boot has just issued them
        self.complaint = ""

    def look(self) -> None:
        """One round. Whatever fails is said once and tried again in the next round."""
        self.until_certificates -= LOOK
        if self.until_certificates <= 0:
            self.until_certificates = CERTIFICATES
            self.reload |= certificates.refresh(self.spec, LOG)
        try:
            role = self.api.role()
            if self.reload:
                self.api.call("POST", "/reload")
                self.reload = False
            if role != "primary":
                self.done.clear()
                return
            self.holders.look()
            if "roles" not in self.done:
                roles.apply(self.spec, LOG)
                self.done.add("roles")
            if "dynamic" not in self.done and dynamic.apply(self.api, self.spec.dynamic, LOG):
                self.done.add("dynamic")
            self.complaint = ""
        except Unanswered:
            return  # Patroni starts, stops, or is gone, which others watch
        except psycopg2.Error as error:
            if str(error) != self.complaint:
                LOG.warning("roles could not be applied, trying again", error=str(error).strip())
            self.complaint = str(error)


def main() -> int:
    steward = Steward(load(sys.argv[1]))
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    while not stopping.is_set():
        steward.look()
        stopping.wait(LOOK)
    return Exit.OK


if __name__ == "__main__":
    sys.exit(run(main, LOG))
