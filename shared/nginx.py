"""nginx as a child of ours: a configuration made by us, and nothing touched outside one folder.

Rules:
1. The folder is nginx's prefix: configuration, process number and temporary files lie in it.  The
   system's nginx.conf and its modules are not read.
2. It stays in the foreground and writes its log to standard error, so that whoever started it
   keeps the log and sees it die.
3. It runs as the user who starts it, which should not be root.
4. What the system's administrator calls allowed does not matter: TLS is 1.3 in both directions.
"""

import os
import pwd
import re
import shutil
import signal
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from shared.errors import ConfigError
from shared.files import storage_error, write_text

CONF, PID, TEMPORARY = "nginx.conf", "nginx.pid", "temporary"
_PLACES = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/bin")
_TEST_S = 20.0
_UNSAFE = re.compile(r'[\x00-\x1f\x7f"\'\\$;{}]')

_FRAME = """\
# Made by fedinterest; changes are lost at the next start.
{user}worker_processes {workers};
pid {pid};
error_log stderr warn;
worker_shutdown_timeout {shutdown_s}s;
events {{
    worker_connections {connections};
}}
http {{
    server_tokens off;
    access_log off;
    default_type application/octet-stream;
    client_body_temp_path {temporary}/body;
    proxy_temp_path {temporary}/proxy;
    fastcgi_temp_path {temporary}/fastcgi;
    uwsgi_temp_path {temporary}/uwsgi;
    scgi_temp_path {temporary}/scgi;
    ssl_protocols TLSv1.3;
    proxy_ssl_protocols TLSv1.3;
    # A resumed session would pass by the list of revoked certificates.
    ssl_session_cache off;
    ssl_session_tickets off;
{http}
}}
"""


def find_nginx() -> Path:
    """Where nginx is installed.

    Raises:
        ConfigError: nowhere on PATH, nor in the usual places for system programs.
    """
    path = os.pathsep.join([os.environ.get("PATH", ""), *_PLACES])
    found = shutil.which("nginx", path=path)
    if found is None:
        raise ConfigError(
            expected="nginx",
            got="none on PATH or in /usr/sbin",
            where="nginx",
            remedy="Install it: `apt install nginx-light`. Its own service is not needed.",
        )
    return Path(found)


def nginx_text(http: str, *, connections: int = 512, workers: int = 1) -> str:
    """A whole nginx.conf around the directives of the `http` block.

    Args:
        http: what the block holds; its relative paths are taken from the configuration's folder.
        connections: open at most, both to and from nginx, for each worker.
        workers: processes.
    """
    # Without this line a master that is root gives its workers to "nobody", who cannot read the
    # folder; with it a master that is not root warns.
    user = f"user {pwd.getpwuid(0).pw_name};\n" if os.geteuid() == 0 else ""
    indented = "\n".join(f"    {line}".rstrip() for line in http.strip("\n").splitlines())
    return _FRAME.format(
        user=user,
        workers=workers,
        pid=PID,
        shutdown_s=10,
        connections=connections,
        temporary=TEMPORARY,
        http=indented,
    )


def quoted(value: str | Path) -> str:
    """`value` as a string of nginx's language.

    Raises:
        ConfigError: it has characters that would mean something there.
    """
    text = str(value)
    if not text or _UNSAFE.search(text):
        raise ConfigError(
            expected="a name or path without quotes, backslashes, $, ;, braces and line ends",
            got=repr(text),
            where=CONF,
            remedy="Use another folder or name.",
        )
    return f'"{text}"'


@dataclass(frozen=True)
class Nginx:
    """One nginx, and all it needs in one folder.

    Args:
        folder: made if it is missing, for its owner only.
        text: of the whole configuration (`nginx_text`).
    """

    folder: Path
    text: str

    @property
    def conf(self) -> Path:
        """The configuration."""
        return self.folder / CONF

    def write(self) -> bool:
        """Put the configuration in place, whole or not at all.

        Returns:
            Whether it differs from what was there.

        Raises:
            StorageError: the disk refused.
        """
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            (self.folder / TEMPORARY).mkdir(mode=0o700, exist_ok=True)
            same = self.conf.is_file() and self.conf.read_text(encoding="utf-8") == self.text
        except OSError as error:
            raise storage_error(error, self.conf) from error
        if not same:
            write_text(self.conf, self.text)
        return not same

    def test(self) -> None:
        """Let nginx itself check what `write` has put in place, certificates and keys included.

        Raises:
            ConfigError: it would not start with that.
        """
        try:
            done = subprocess.run(
                [*self.command(), "-t", "-q"],
                capture_output=True,
                text=True,
                timeout=_TEST_S,
                stdin=subprocess.DEVNULL,
            )
            said, code = done.stderr, done.returncode
        except subprocess.TimeoutExpired:
            said, code = f"no answer in {_TEST_S:.0f} s", 1
        if code:
            raise ConfigError(
                expected="a configuration that nginx accepts",
                got=_complaint(said) or f"exit code {code}",
                where=str(self.conf),
            )

    def command(self) -> list[str]:
        """What starts it, in the foreground.

        Raises:
            ConfigError: nginx is not installed.
        """
        folder = self.folder.resolve()
        return [
            str(find_nginx()),
            "-e",
            "stderr",
            "-p",
            str(folder),
            "-c",
            str(folder / CONF),
            "-g",
            "daemon off;",
        ]

    def pid(self) -> int | None:
        """The process number of the nginx that runs with this configuration; None if none does."""
        try:
            number = int((self.folder / PID).read_text())
        except (OSError, ValueError):
            return None
        return number if self._is_ours(number) else None

    def reload(self, pid: int | None = None) -> bool:
        """Have a running nginx take the configuration in place, if that is a valid one.

        New connections follow the new configuration at once.  Old ones end with the answer they
        wait for, idle ones now, and all of them within 10 s.

        Args:
            pid: of its master; by default what its own file says.

        Returns:
            Whether there was one to tell.

        Raises:
            ConfigError: the configuration is not valid; the running nginx keeps its old one.
        """
        self.test()
        number = self.pid() if pid is None else pid
        if number is None or not self._is_ours(number):
            return False
        with suppress(ProcessLookupError):
            os.kill(number, signal.SIGHUP)
            return True
        return False

    def _is_ours(self, pid: int) -> bool:
        """Whether a process was started by `command`: a number alone may be another's by now."""
        try:
            title = Path(f"/proc/{pid}/cmdline").read_bytes()
        except OSError:
            return False
        conf = f" -c {self.folder.resolve() / CONF} ".encode()
        return b"master process" in title and conf in title


def _complaint(said: str) -> str:
    """The first line, without date and process number."""
    line = said.strip().partition("\n")[0]
    return line.partition(": ")[2] if line.startswith("20") else line
