#!/usr/bin/python3
"""A service that is no Rust: it says whether it is ready, which version it is, and hello."""

import json
import os
import shutil
import signal
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

copy = os.environ.pop("GO_ON_AS", None)
if copy:
    # The same program, but no file of the image.
    shutil.copy(os.path.realpath(sys.executable), copy)
    os.execve(copy, [copy, *sys.argv], {**os.environ, "PYTHONHOME": "/usr"})

VERSION = {"source_fingerprint": os.environ.get("SOURCE_FINGERPRINT"), "instance": os.environ.get("INSTANCE_ID")}
ANSWERS = {"/readyz": {"status": "ready"}, "/version": VERSION, "/hello": {"greeting": "hello from Python"}}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        answer = json.dumps(ANSWERS.get(self.path, {"status": "not found"})).encode()
        self.send_response(200 if self.path in ANSWERS else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
host, port = os.environ["LISTEN_ADDR"].rsplit(":", 1)
ThreadingHTTPServer((host, int(port)), Handler).serve_forever()
