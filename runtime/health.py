"""Docker's HEALTHCHECK: healthy when Patroni's REST interface says that PostgreSQL is up (`GET /health` is 200).

Standard library only, and no setting: the port is read from what the boot wrote.
"""

from __future__ import annotations

import http.client
import json
import os
import ssl
import sys
from pathlib import Path


def main() -> int:
    """0 healthy, 1 not (Docker knows no other codes)."""
    spec = json.loads(Path(os.environ.get("SPILO_STEWARD", "/run/spilo/steward.json")).read_text(encoding="utf-8"))
    context = ssl.create_default_context(cafile=spec["trusted"])
    context.check_hostname = False  # a certificate from elsewhere need not name loopback
    connection = http.client.HTTPSConnection("127.0.0.1", spec["api"]["port"], timeout=3, context=context)
    try:
        connection.request("GET", "/health")
        response = connection.getresponse()
        state = json.loads(response.read())
    except (OSError, ValueError) as error:
        print(f"Patroni does not answer: {error}")
        return 1
    print(f"{state.get('role', '?')} {state.get('state', '?')}")
    return 0 if response.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
