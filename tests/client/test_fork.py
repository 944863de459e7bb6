"""A client that is used on both sides of a fork, as web servers do it."""

import os
import subprocess
import sys

from geartrain.testing import Server

PROGRAM = """
import os, sys
from geartrain import Client

client = Client(sys.argv[1], timeout=20)
assert client.echo(b"before") == b"before"
if os.fork() == 0:
    ok = client.echo(b"child") == b"child"
    client.close()
    os._exit(0 if ok else 1)
_, status = os.wait()
assert status == 0
assert client.echo(b"parent") == b"parent"
client.close()
print("well")
"""


def test_parent_and_child_have_connections_of_their_own() -> None:
    with Server() as server:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-c", PROGRAM, server.address],
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )
    assert done.stderr == ""
    assert done.stdout == "well\n"
