"""Names on the hub, from a small server on the loopback."""

import hashlib
import http.server
import json
import os
import threading
import time
from pathlib import Path

import pytest
from conftest import script

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Server(http.server.ThreadingHTTPServer):
    """Two repositories, `some/adapter` and `some/base`, whose files arrive slowly if `pause` says so."""

    daemon_threads = True

    def __init__(self, folders, pause=0.0):
        self.folders = folders
        self.pause = pause
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_HEAD(self):
        self.respond(False)

    def do_GET(self):
        self.respond(True)

    def respond(self, with_body):
        parts = self.path.split("?")[0].strip("/").split("/")
        if parts[:2] == ["api", "models"]:
            folder = self.server.folders["/".join(parts[2:4])]
            names = [{"rfilename": path.name, "size": path.stat().st_size} for path in sorted(folder.iterdir())]
            body = json.dumps({"sha": COMMIT, "siblings": names}).encode()
        else:
            path = self.server.folders["/".join(parts[:2])] / parts[-1]
            body = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", f'"{hashlib.sha256(body).hexdigest()[:40]}"')
        self.send_header("X-Repo-Commit", COMMIT)
        self.end_headers()
        if with_body:
            for start in range(0, len(body), 4096):
                self.wfile.write(body[start : start + 4096])
                time.sleep(self.server.pause)


@pytest.fixture
def environment(pico):
    def of(server):
        return {
            **os.environ,
            "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
            "HF_HUB_CACHE": str(pico / "cache"),
            "HF_HOME": str(pico / "home"),
            "HF_HUB_OFFLINE": "",
            "NO_PROXY": "*",
            "PYTHONWARNINGS": "ignore",
        }

    return of


SCAN = """
import lora_slim
steps = []
report = lora_slim.scan("some/adapter", base="some/base", samples="tokens.jsonl", progress=steps.append)
fetched = [step for step in steps if step.stage == "fetch"]
print(len(report["curve"]), bool(fetched), all(step.done <= step.total for step in fetched))
"""


def test_names_are_fetched_with_progress(pico, environment):
    server = Server({"some/adapter": pico / "my-adapter", "some/base": pico / "my-base"}, pause=0.005)
    ran = script(SCAN, env=environment(server))
    assert ran.stdout == "7 True True\n", ran.stderr
    # Nothing is printed, and the second time all of it is there.
    assert ran.stderr == ""
    server.shutdown()
    assert script(SCAN, env=environment(server)).stdout == "7 False True\n"


def test_nothing_is_fetched_offline(pico, environment):
    server = Server({})
    code = """
import lora_slim
try:
    lora_slim.inspect("some/adapter", offline=True)
except lora_slim.LoraSlimError as error:
    print(error.kind)
"""
    assert script(code, env=environment(server)).stdout in ("bad-input\n", "usage\n")
    assert not Path("cache").exists()
