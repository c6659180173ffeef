"""What happens to programs inside a member; what happens to whole containers is in node.py (kill, pause, cut, ...)."""

from __future__ import annotations

from tests.kit.node import DATA, Container


def kill_postmaster(member: Container, signal: str = "KILL") -> None:
    """Signal PostgreSQL's first process: KILL a crash, STOP a hang."""
    member.sh(f"kill -s {signal} $(head -n 1 {DATA}/postmaster.pid)")


def kill_program(member: Container, pattern: str, signal: str = "KILL") -> None:
    """Signal every process whose command line contains `pattern`."""
    member.sh(f"""
        found=
        for process in /proc/[0-9]*; do
            pid=${{process#/proc/}}
            [ "$pid" = $$ ] && continue
            line=$(tr '\\0' ' ' <"$process/cmdline" 2>/dev/null) || continue
            case $line in *"{pattern}"*) kill -s {signal} "$pid" && found=1;; esac
        done
        [ "$found" ]
    """)


def processes(member: Container) -> list[str]:
    """Command lines of everything that runs inside."""
    listed = member.sh("for one in /proc/[0-9]*/cmdline; do tr '\\0' ' ' <$one 2>/dev/null; echo; done")
    return [line.strip() for line in listed.splitlines() if line.strip()]
