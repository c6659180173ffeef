"""The process that supervisord knows: it starts the archiver as its child, and ends it when it hangs.

A process that hangs cannot notice that; a small one beside it, which imports nothing, can. Then both end, and supervisord
starts them anew.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
from collections.abc import Callable

from runtime.log import Log

SILENCE = 20.0  # seconds without a sign of life
_PR_SET_PDEATHSIG = 1  # prctl(2)


def _child(work: Callable[[Callable[[], None]], int], pipe: int, parent: int) -> int:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)  # never two of them
    if os.getppid() != parent:
        return 1
    return work(lambda: _tell(pipe))


def _tell(pipe: int) -> None:
    os.write(pipe, b".")


def watch(work: Callable[[Callable[[], None]], int], log: Log, silence: float = SILENCE) -> int:
    """Run `work` in a child and return its exit code. `work` gets a function to call as a sign of life; after `silence`
    seconds without one the child is killed."""
    pipe, far = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid == 0:
        os.close(pipe)
        os._exit(_child(work, far, parent))
    os.close(far)
    before = signal.signal(signal.SIGTERM, lambda *_: os.kill(pid, signal.SIGTERM))
    while True:
        if not select.select([pipe], [], [], silence)[0]:
            log.error("the archiver hangs and is ended, to be started again", seconds=silence)
            os.kill(pid, signal.SIGKILL)
            break
        if not os.read(pipe, 4096):
            break
    signal.signal(signal.SIGTERM, before)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return code if code >= 0 else 128 - code
