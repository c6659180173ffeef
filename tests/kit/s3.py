"""S3 servers for tests, and how clients are told about them: real servers, which check signatures and refuse strangers.

    Moto      knows IAM, STS, conditional writes and policies; forgets everything when it stops
    Rclone    keeps objects as files, is fast, ignores If-None-Match

Both are processes of the component layer; `store.py` runs the same as containers, `faultproxy.py` stands in front of
either and misbehaves.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
from botocore.config import Config

from tests.component.support import Process, eventually, port

if TYPE_CHECKING:
    from tests.component.servers import Authority

REGION = "eu-central-1"
# moto with one correction: as on AWS, nobody signs the request that exchanges a web identity for a role.
MOTO = """
import sys
from moto.core.authorization import ActionAuthenticatorMixin as Mixin
from moto.server import main
check = Mixin._authenticate_and_authorize_normal_action
def checked(self, *resource):
    if self._get_action() != "AssumeRoleWithWebIdentity":
        check(self, *resource)
Mixin._authenticate_and_authorize_normal_action = checked
main(sys.argv[1:])
"""
UNCHECKED = 3  # requests before moto begins to check: those of `moto_key`


@dataclass(frozen=True)
class Key:
    """Credentials; with a `token` they are those of a role."""

    id: str
    secret: str
    token: str = ""

    def variables(self) -> dict[str, str]:
        """As in an envdir."""
        session = {"AWS_SESSION_TOKEN": self.token} if self.token else {}
        return {"AWS_ACCESS_KEY_ID": self.id, "AWS_SECRET_ACCESS_KEY": self.secret, **session}


def client(url: str, key: Key, service: str = "s3", ca: Path | None = None, **config: Any) -> Any:
    """A boto3 client that asks once; `config` goes to botocore's Config."""
    config = {"retries": {"total_max_attempts": 1}, "connect_timeout": 5, "read_timeout": 20, **config}
    return boto3.client(
        service, endpoint_url=url, region_name=REGION, aws_access_key_id=key.id, aws_secret_access_key=key.secret,
        aws_session_token=key.token or None, verify=str(ca) if ca else None, config=Config(**config))


class Endpoint:
    """Where a store is, as whom, and in whose word it is trusted."""

    def __init__(self, url: str, key: Key, ca: Path | None = None) -> None:
        self.url, self.key, self.ca = url, key, ca

    def client(self, key: Key | None = None, service: str = "s3", **config: Any) -> Any:
        """A boto3 client."""
        return client(self.url, key or self.key, service, self.ca, **config)

    def bucket(self, name: str) -> str:
        """Make a bucket; s3://NAME."""
        self.client().create_bucket(Bucket=name, CreateBucketConfiguration={"LocationConstraint": REGION})
        return f"s3://{name}"

    def environment(self, prefix: str, key: Key | None = None) -> dict[str, str]:
        """The variables that describe a prefix (s3://BUCKET/PATH) of this store."""
        scheme, _, rest = self.url.partition("://")
        trust = {"AWS_CA_BUNDLE": str(self.ca)} if self.ca else {}
        return {"WALE_S3_PREFIX": prefix, "WALE_S3_ENDPOINT": f"{scheme}+path://{rest}", "AWS_REGION": REGION,
                **(key or self.key).variables(), **trust}

    def folder(self, path: Path, prefix: str, key: Key | None = None, more: Mapping[str, str] | None = None) -> Path:
        """An envdir of that prefix, `more` variables in it (one that is empty takes a variable away)."""
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for name, value in {**self.environment(prefix, key), **(more or {})}.items():
            file = path / name
            file.unlink(missing_ok=True)
            if value:
                file.touch(0o600)
                file.write_text(value, encoding="utf-8")
        return path


def bare(more: Mapping[str, str]) -> dict[str, str]:
    """This environment without anything that tells an S3 client or rclone what to do, and `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "WALE_", "RCLONE_", "MOTO_"))}
    return {**kept, **more}


def allowed(*actions: str) -> str:
    """A policy that allows these actions on everything."""
    return json.dumps({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": actions, "Resource": "*"}]})


def moto_key(url: str, ca: Path | None = None) -> Key:
    """The credentials of a user who may do everything, made with the last requests that moto does not check."""
    iam = client(url, Key("nobody", "nobody"), "iam", ca)
    iam.create_user(UserName="root")
    made = iam.create_access_key(UserName="root")["AccessKey"]
    iam.put_user_policy(UserName="root", PolicyName="all", PolicyDocument=allowed("*"))
    return Key(made["AccessKeyId"], made["SecretAccessKey"])


def moto_command(host: str, number: int, python: str = sys.executable) -> list[str]:
    return [python, "-c", MOTO, "--host", host, "--port", str(number)]


def moto_environment() -> dict[str, str]:
    return {"INITIAL_NO_AUTH_ACTION_COUNT": str(UNCHECKED)}


def rclone_command(host: str, number: int, folder: str) -> list[str]:
    return ["rclone", "serve", "s3", "--addr", f"{host}:{number}", folder]


def rclone_environment(keys: Sequence[Key]) -> dict[str, str]:
    """Credentials are not for the command line, which everybody on the machine can read."""
    return {"RCLONE_AUTH_KEY": ",".join(f'"{key.id},{key.secret}"' for key in keys), "RCLONE_CONFIG": "/dev/null"}


class Server(Process, Endpoint):
    """An S3 server as a process; with `authority` it speaks TLS."""

    def __init__(self, name: str, place: Path, authority: Authority | None, key: Key, number: int | None) -> None:
        self.port, self.place = number or port(), place
        scheme, ca = ("https", authority.file) if authority else ("http", None)
        self.certificate = authority.issue(name, "127.0.0.1", "localhost") if authority else None
        Process.__init__(self, name, [], place)
        Endpoint.__init__(self, f"{scheme}://127.0.0.1:{self.port}", key, ca)

    def until_ready(self, seconds: float = 30) -> None:
        """Wait until it serves, and serves only those whom it knows."""
        eventually(self._ready, seconds, f"{self.name} serves")

    def _ready(self) -> bool:
        assert self.running, f"{self.name} has ended"
        return answers(self.port)


def answers(number: int, host: str = "127.0.0.1") -> bool:
    """Whether somebody accepts connections there."""
    try:
        socket.create_connection((host, number), 2).close()
    except OSError:
        return False
    return True


class Moto(Server):
    """A moto server; `key` may do everything, `user()` and `role()` make others who may do less."""

    def __init__(self, name: str, place: Path, authority: Authority | None = None) -> None:
        super().__init__(name, place, authority, Key("", ""), None)
        self.command = moto_command("127.0.0.1", self.port)
        if self.certificate:
            self.command += ["--ssl-cert", str(self.certificate[0]), "--ssl-key", str(self.certificate[1])]
        self.environ = bare(moto_environment())

    def until_ready(self, seconds: float = 30) -> None:
        super().until_ready(seconds)
        self.key = moto_key(self.url, self.ca)  # a start begins with nothing

    def user(self, *actions: str) -> Key:
        """Credentials of a new user who may do these actions (s3:GetObject, s3:*, none), on everything."""
        iam, name = self.client(service="iam"), f"user-{secrets.token_hex(4)}"
        iam.create_user(UserName=name)
        made = iam.create_access_key(UserName=name)["AccessKey"]
        if actions:
            iam.put_user_policy(UserName=name, PolicyName="some", PolicyDocument=allowed(*actions))
        return Key(made["AccessKeyId"], made["SecretAccessKey"])

    def role(self, *actions: str) -> str:
        """The ARN of a new role that may do these actions. For the web identity's way: AWS_ROLE_ARN,
        AWS_WEB_IDENTITY_TOKEN_FILE (any text) and AWS_ENDPOINT_URL_STS = `url`."""
        iam, name = self.client(service="iam"), f"role-{secrets.token_hex(4)}"
        anybody = {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole", "sts:AssumeRoleWithWebIdentity"]}
        trust = json.dumps({"Version": "2012-10-17", "Statement": [anybody]})
        arn = str(iam.create_role(RoleName=name, AssumeRolePolicyDocument=trust)["Role"]["Arn"])
        iam.put_role_policy(RoleName=name, PolicyName="some", PolicyDocument=allowed(*actions))
        return arn

    def assume(self, arn: str) -> Key:
        """Credentials of the role, with a token, that end after an hour."""
        made = self.client(service="sts").assume_role(RoleArn=arn, RoleSessionName="kit")["Credentials"]
        return Key(made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])


class Rclone(Server):
    """`rclone serve s3`; `files` holds a folder a bucket. Never delete there behind its back."""

    def __init__(self, name: str, place: Path, authority: Authority | None = None) -> None:
        super().__init__(name, place, authority, Key(f"AKIA{secrets.token_hex(8).upper()}", secrets.token_hex(20)), None)
        self.files = place / f"{name}-files"
        self.files.mkdir(exist_ok=True)
        self.command = rclone_command("127.0.0.1", self.port, str(self.files))
        if self.certificate:
            self.command += ["--cert", str(self.certificate[0]), "--key", str(self.certificate[1])]
        self.environ = bare(rclone_environment([self.key]))
