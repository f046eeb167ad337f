"""Serve a test application with the fast lane: `python -m tests.apps.serve MODULE:ATTRIBUTE PORT [CERTIFICATE KEY]`.

This is what `shoal serve` does, without the command line. It knows no application.
"""

import importlib
import sys

from shoal.serving.run import run

if __name__ == "__main__":
    name, port, *pem = sys.argv[1:]
    module, _, attribute = name.partition(":")
    certificate, key = pem or (None, None)
    app = getattr(importlib.import_module(module), attribute)
    run(app, host="127.0.0.1", port=int(port), ssl_certfile=certificate, ssl_keyfile=key)
