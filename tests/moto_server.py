"""Run moto's server: prints its port, and ends when standard input closes.

The modules `moto_*` beside this file correct moto where it differs from AWS's documentation, and quote the sentence
that each correction follows. `POST /tagfleet/pass-time` with a number of seconds sets the clocks of SQS and EC2 ahead;
`POST /tagfleet/ec2` injects faults into EC2 (`moto_ec2`).
"""

from __future__ import annotations

import importlib
import os
import sys
import threading
from importlib.util import find_spec

import moto_ec2
import moto_sqs
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, MotoRequestHandler, create_backend_app
from werkzeug.serving import make_server

CORRECTIONS = ("moto_s3", "moto_sqs", "moto_ec2", "moto_images", "moto_cloudformation", "moto_sagemaker")


class _Quiet(MotoRequestHandler):
    def log(self, type: str, message: str, *args: object) -> None:
        """Log nothing: hundreds of requests a second would hide the errors."""


class _Server:
    """moto behind one lock: it is not thread-safe, and in a race that AWS decides it would let both sides win.

    A receive that waits for messages does so outside the lock, and takes it for each try (`moto_sqs`).
    """

    def __init__(self) -> None:
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = threading.RLock()

    def __call__(self, environ, start_response):
        if environ["PATH_INFO"] == "/tagfleet/pass-time":
            seconds = float(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            moto_sqs.pass_time(seconds)
            moto_ec2.pass_time(seconds)
            start_response("204 No Content", [("Content-Length", "0")])
            return []
        if environ["PATH_INFO"] == "/tagfleet/ec2":
            with self._one_at_a_time:
                moto_ec2.control(environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"])))
            start_response("204 No Content", [("Content-Length", "0")])
            return []
        if environ.get("HTTP_X_AMZ_TARGET") == "AmazonSQS.ReceiveMessage":
            return self._moto(environ, start_response)
        with self._one_at_a_time:
            return self._moto(environ, start_response)


def _end_with_parent() -> None:
    sys.stdin.buffer.read()
    os._exit(0)


def main() -> None:
    for name in CORRECTIONS:
        if find_spec(name):
            importlib.import_module(name).apply()
    server = make_server("127.0.0.1", 0, _Server(), threaded=True, request_handler=_Quiet)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    print(server.server_port, flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
