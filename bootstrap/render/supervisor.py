"""supervisord.conf. No user's value goes in (supervisord expands %): programs get paths of ours, which are escaped."""

from __future__ import annotations

import configparser
import io
import shlex
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bootstrap.plan import Node, Program


def _section(program: Program) -> dict[str, str]:
    section = {
        "command": shlex.join(program.command).replace("%", "%%"),
        "priority": str(program.priority),
        "autorestart": "true",
        "startsecs": "2",
        "startretries": str(program.retries),
        "stopsignal": "TERM",
        "stopwaitsecs": str(program.stop_seconds),
        "stdout_logfile": "/dev/fd/1",
        "stdout_logfile_maxbytes": "0",
        "redirect_stderr": "true",
    }
    if program.listener:  # its stdout is the protocol with supervisord, so it logs to stderr
        del section["stdout_logfile"], section["stdout_logfile_maxbytes"]
        section |= {"stderr_logfile": "/dev/fd/1", "stderr_logfile_maxbytes": "0", "redirect_stderr": "false",
                    "stdout_logfile": "NONE",
                    "events": "PROCESS_STATE_BACKOFF,PROCESS_STATE_EXITED,PROCESS_STATE_FATAL"}
    return section


def render(node: Node, programs: tuple[Program, ...]) -> bytes:
    """The whole file."""
    socket = str(node.layout.supervisor_socket).replace("%", "%%")
    config = configparser.RawConfigParser()
    config.optionxform = str  # type: ignore[assignment,method-assign]
    config["supervisord"] = {
        "nodaemon": "true",
        "logfile": "/dev/fd/1",
        "logfile_maxbytes": "0",
        "loglevel": "warn",
        "pidfile": str(node.layout.run / "supervisord.pid").replace("%", "%%"),
        "childlogdir": str(node.layout.run).replace("%", "%%"),
        "silent": "true",
    }
    # The socket is reachable for our own user only; the password is there because supervisord warns without one.
    login = {"username": "spilo", "password": node.supervisor_password.reveal()}
    config["unix_http_server"] = {"file": socket, "chmod": "0700", **login}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"}
    config["supervisorctl"] = {"serverurl": f"unix://{socket}", **login}
    for program in programs:
        config[f"{'eventlistener' if program.listener else 'program'}:{program.name}"] = _section(program)
    text = io.StringIO()
    config.write(text)
    return text.getvalue().encode()
