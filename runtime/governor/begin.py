"""Brings a member that has no data to where Patroni can start: waits, recovers the cluster from its archive, or copies another.

Stores are opened in processes of their own: Patroni, which this process becomes, must not inherit their variables.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from runtime import postgres
from runtime.etcd import Lock, Unreachable
from runtime.governor.cluster import Cluster, patiently
from runtime.governor.origin import Do, Facts, Stored, Verdict, asks_store, decide
from runtime.holders import CONSENT, KEY, Holders, renounce
from runtime.log import Log
from runtime.spec import Spec
from runtime.tool import tool
from runtime.trouble import Exit, Trouble

LOOK = 1.0  # seconds between two looks
LEASE = 20  # seconds for which nobody else begins when this member dies on the way
AGAIN = 5.0  # seconds between two attempts to bring data here
SAY_AGAIN = 60.0  # seconds between two lines of log for the same wait
SAY_NEW = 10.0  # and where what is seen has changed


@contextlib.contextmanager
def alone(data: Path) -> Iterator[int]:
    """Wait until nobody works on the data directory any more: a predecessor that was killed may have left a child, which
    keeps the file open that this gives."""
    data.parent.mkdir(0o700, parents=True, exist_ok=True)
    with open(data.with_name(f"{data.name}.lock"), "a", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield file.fileno()


class Begin:
    """One member's way to its data. `last_words` is where a refusal leaves its reason."""

    def __init__(self, cluster: Cluster, spec: Spec, spec_path: str, last_words: Path, log: Log) -> None:
        self.cluster, self.spec, self.path, self.last_words, self.log = cluster, spec, spec_path, last_words, log
        self.began = time.monotonic()
        self._said: tuple[Verdict | None, float] = None, 0.0

    def run(self) -> int:
        """Return when Patroni can start; raises Trouble, or returns the code of the tool that refused."""
        with alone(self.spec.data):
            self.discard()
        while True:
            facts, known = self.look()
            verdict = decide(facts)
            if verdict.do is Do.START:
                if not facts.data:
                    self.log.info("Patroni starts without data", why=verdict.sentence)
                return Exit.OK
            if verdict.do is Do.REFUSE:
                raise Trouble(Exit.REFUSED, verdict.sentence, verdict.seen, verdict.hint)
            if verdict.do is Do.WAIT:
                self.say(verdict)
                time.sleep(AGAIN if facts.stored else LOOK)
                continue
            code = self.make(verdict, facts, known)
            if code is not None:
                return code
            self.discard()
            time.sleep(AGAIN)

    def discard(self) -> None:
        """Remove data that was never made the cluster's. Whoever makes replicas marks them, too, and may still be at it."""
        mark = postgres.unfinished(self.spec.data)
        if mark.exists() and mark.read_text(encoding="ascii") == postgres.BEGINNING:
            self.log.warning("data of a start that did not come to its end is removed", path=self.spec.data)
            postgres.clear(self.spec.data)
            mark.unlink()

    def look(self) -> tuple[Facts, str | None]:
        """(what is known now, the text of the list of holders that it was read from)."""
        empty = postgres.is_empty(self.spec.data)
        if empty and patiently(lambda: renounce(self.cluster.etcd, self.cluster.root, self.spec.member), self.log):
            self.log.warning("this member has no data any more, and says so to the others", key=self.cluster.root + KEY)
        known = self.cluster.get(KEY)
        leader, alive = self.cluster.leader()
        facts = Facts(
            self.spec.member, not empty, self.cluster.get("initialize"), leader, alive,
            Holders.parse(known), self.spec.store is not None, self.spec.clone is not None,
            self.spec.follow is not None and self.cluster.follows(),
            alone=self.spec.alone, consent=self.cluster.get(CONSENT) is not None)
        if asks_store(facts):
            facts = replace(facts, stored=self.ask_store())
        return facts, known

    def ask_store(self) -> Stored:
        done = subprocess.run(self.command("look"), stdout=subprocess.PIPE, text=True, check=False, stdin=subprocess.DEVNULL)
        try:
            value = json.loads(done.stdout)
            return Stored(value["state"], value["text"])
        except (ValueError, KeyError, TypeError):
            return Stored("silent", f"looking into it ended with {done.returncode}: {done.stdout.strip()}")

    def command(self, *words: str) -> tuple[str, ...]:
        return tool("runtime.replica.from_archive", *words, f"--spec={self.path}")

    def say(self, verdict: Verdict) -> None:
        """The sentence of a wait, when it is new and then once a minute."""
        said, at = self._said
        now = time.monotonic()
        if said and said.sentence == verdict.sentence and now - at < (SAY_AGAIN if said == verdict else SAY_NEW):
            return
        self._said = verdict, now
        self.log.warning(verdict.sentence, seconds=round(now - self.began),
                         **{name: value for name, value in (("seen", verdict.seen), ("hint", verdict.hint)) if value})

    def make(self, verdict: Verdict, facts: Facts, known: str | None) -> int | None:
        """Make the data, as the only member that does; the exit code, None: look again."""
        lock = Lock(self.cluster.etcd, self.cluster.root + "spilo/begin-lock", {"member": self.spec.member, "since": time.time()},
                    seconds=LEASE)
        try:
            with lock:
                if (self.cluster.get(KEY), self.cluster.get("initialize"), self.cluster.get("leader")) != (known, facts.initialize, None):
                    return None
                self.log.warning(verdict.sentence, seen=verdict.seen, cluster=facts.initialize or "new")
                with alone(self.spec.data) as held:
                    command = self.command("clone" if verdict.do is Do.CLONE else "recover", f"--last-words={self.last_words}")
                    code = subprocess.run(command, check=False, stdin=subprocess.DEVNULL, pass_fds=[held]).returncode
                if code in (Exit.REFUSED, Exit.SETTINGS, Exit.BUG):
                    return code
                if code:
                    self.say(Verdict(Do.WAIT, "the data could not be brought here, trying again", f"the lines above say why, code {code}"))
                    return None
                lock.check()
                if self.settle(facts, known):
                    return Exit.OK
        except Trouble as trouble:
            if trouble.code != Exit.RETRY:
                raise
            self.say(Verdict(Do.WAIT, "waiting, because another member may be bringing the data back", trouble.detail))
        except Unreachable as error:
            self.log.warning("etcd does not answer", error=error)
        return None

    def settle(self, facts: Facts, known: str | None) -> bool:
        """Give the data to the cluster, unless the cluster has gone on without it meanwhile."""
        system = postgres.system_identifier(self.spec.data)
        assert system is not None
        if facts.initialize and system != facts.initialize:
            self.discard()
            raise Trouble(Exit.REFUSED, "the archive brought back another cluster",
                          f"system identifier {system} in it, {facts.initialize} in etcd at {self.cluster.root}initialize",
                          "give this cluster its own archive, or another SCOPE")
        if not self.cluster.settle(facts.initialize, known, system):
            self.log.warning("the cluster has gone on meanwhile, without what was brought here")
            return False
        postgres.unfinished(self.spec.data).unlink()
        self.log.info("the data is the cluster's from now on", system=system)
        return True
