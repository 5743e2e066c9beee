"""nginx.py - Debian's nginx as a peer for raw HTTP: it sends files of a directory and stores what is put."""
import os
import shutil
import socket
import subprocess

from tools import ROOT
from service import until

UNPACKED = os.path.join(ROOT, "build", "unpacked", "nginx")
CONFIGURATION = """
daemon off; master_process off; error_log stderr error; pid {folder}/nginx.pid;
events {{ worker_connections 256; }}
http {{
    access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;
    client_max_body_size 0; client_body_buffer_size 1m;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        location /down/ {{ alias {folder}/; }}
        location /up/ {{ root {folder}; dav_methods PUT; create_full_put_path on; }}
    }}
}}
"""


class Nginx:
    """One process, as a server of ours is; `folder` is served under /down/, PUT /up/NAME is stored there."""

    def __init__(self, folder):
        self.folder = folder

    def __enter__(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            self.port = s.getsockname()[1]
        path = os.path.join(self.folder, "nginx.conf")
        with open(path, "w") as f:
            f.write(CONFIGURATION.format(folder=self.folder, port=self.port))
        program = shutil.which("nginx") or os.path.join(UNPACKED, "usr", "sbin", "nginx")
        self.process = subprocess.Popen([program, "-c", path, "-e", "stderr"], stdin=subprocess.DEVNULL)
        until(self.answers)
        return self

    def answers(self):
        assert self.process.poll() is None, "nginx has left with status %d" % self.process.returncode
        with socket.socket() as s:
            return s.connect_ex(("127.0.0.1", self.port)) == 0

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait(20)
