"""The sidecar: nginx on loopback, which shows the partner's certificate for the SuperNode.

A SuperNode cannot present a certificate itself, and refuses to authenticate without TLS.  So it
speaks TLS with a loopback certificate to the sidecar, and the sidecar speaks TLS 1.3 to the
gateway: it checks the gateway's certificate against the coordinator's authority, and shows the
partner's own.  What is not Flower's Fleet API does not get out.
"""

from pathlib import Path

from clients.joining.keys import LOOPBACK, Keys
from shared.enrolment import Enrolment
from shared.nginx import Nginx, nginx_text, quoted

_HTTP = """\
upstream gateway {{
    server {gateway} max_fails=0;
    keepalive 4;
}}
server {{
    listen {host}:{port} ssl;
    ssl_certificate {loopback_certificate};
    ssl_certificate_key {loopback_key};
    client_max_body_size {max_body};
    client_body_buffer_size 1m;

    location /v1/fleet/ {{
        limit_except POST {{ deny all; }}
        proxy_pass https://gateway;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host {server_name};
        proxy_ssl_certificate {certificate};
        proxy_ssl_certificate_key {key};
        proxy_ssl_trusted_certificate {authority};
        proxy_ssl_verify on;
        proxy_ssl_verify_depth 1;
        proxy_ssl_server_name on;
        proxy_ssl_name {server_name};
        proxy_ssl_session_reuse off;
        proxy_connect_timeout 5s;
        proxy_send_timeout 60s;
        proxy_read_timeout 60s;
        proxy_next_upstream off;
    }}
    location = /sidecar {{
        return 204;
    }}
    location / {{
        return 403;
    }}
}}
"""


def sidecar(folder: Path, keys: Keys, enrolment: Enrolment, *, port: int, max_body: int) -> Nginx:
    """The partner's nginx.

    Args:
        folder: DIR/sidecar.
        port: on loopback.
        max_body: most bytes in a request that goes out.

    Raises:
        ConfigError: a path or name that nginx's configuration cannot hold.
    """
    http = _HTTP.format(
        gateway=enrolment.gateway,
        host=LOOPBACK,
        port=port,
        loopback_certificate=quoted(keys.loopback_certificate.resolve()),
        loopback_key=quoted(keys.loopback_key.resolve()),
        max_body=max_body,
        server_name=quoted(enrolment.server_name),
        certificate=quoted(keys.tls_certificate.resolve()),
        key=quoted(keys.tls_key.resolve()),
        authority=quoted(keys.authority.resolve()),
    )
    return Nginx(folder, nginx_text(http, connections=64))
