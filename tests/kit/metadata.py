"""The metadata service of an EC2 instance, in its second version only: no answer without a session token.

Clients find it through AWS_EC2_METADATA_SERVICE_ENDPOINT.
"""

from __future__ import annotations

import datetime
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from tests.kit.s3 import REGION, Key

ROLE = "/latest/meta-data/iam/security-credentials/"
TOKEN = "a-session-of-the-metadata-service"
TTL = "X-aws-ec2-metadata-token-ttl-seconds"


class Metadata:
    """Serves the credentials of `key`, from the start until `stop()`; `paths` (text by path) may be added to."""

    def __init__(self, key: Key, valid: float = 3600) -> None:
        end = datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=valid)
        self.paths = {
            ROLE: "spilo",
            f"{ROLE}spilo": json.dumps({
                "Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": key.id, "SecretAccessKey": key.secret,
                "Token": key.token, "Expiration": f"{end:%Y-%m-%dT%H:%M:%SZ}"}),
            "/latest/meta-data/placement/region": REGION,
            "/latest/meta-data/placement/availability-zone": f"{REGION}a",
            "/latest/meta-data/instance-id": "i-00000000000000001",
            "/latest/dynamic/instance-identity/document": json.dumps({"region": REGION, "instanceId": "i-00000000000000001"}),
        }
        self.asked: list[str] = []
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"metadata": self}))
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()


class Handler(BaseHTTPRequestHandler):
    metadata: Metadata

    def log_message(self, *_: Any) -> None:
        pass

    def answer(self, status: int, text: str = "") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        if status == 200 and TTL in self.headers:
            self.send_header(TTL, self.headers[TTL])
        self.end_headers()
        self.wfile.write(text.encode())

    def do_PUT(self) -> None:
        known = self.path == "/latest/api/token" and TTL in self.headers
        self.answer(200, TOKEN) if known else self.answer(400)

    def do_GET(self) -> None:
        self.metadata.asked.append(self.path)
        if self.headers.get("X-aws-ec2-metadata-token") != TOKEN:
            self.answer(401)
        elif self.path in self.metadata.paths:
            self.answer(200, self.metadata.paths[self.path])
        else:
            self.answer(404)
