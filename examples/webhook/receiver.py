"""A server of your own for `notify.format: json`: prints what is told, and keeps the pictures beside it.

python receiver.py 8080          # then notify.url: http://<this computer>:8080/
"""

import base64
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class Receiver(BaseHTTPRequestHandler):
    """Takes what edge/schemas/notification.json describes. What it answers with 200 is not told again."""

    def do_POST(self) -> None:
        told = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(f"{told['time']} {told['node']}: {told['title']}\n    {told['message']}", flush=True)
        if told["png"]:
            picture = Path(f"{told['source']}-{told['time'].replace(':', '')}.png")
            picture.write_bytes(base64.b64decode(told["png"]))
            print(f"    {picture}", flush=True)
        self.send_response(200)
        self.end_headers()


if __name__ == "__main__":
    ThreadingHTTPServer(("", int(sys.argv[1])), Receiver).serve_forever()
