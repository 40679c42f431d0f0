"""Real nginx: everything in one folder, found, tested, reloaded, never mistaken for another."""

import os
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared import nginx as module
from shared.errors import ConfigError
from shared.nginx import Nginx, find_nginx, nginx_text, quoted


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def saying(word: str, port: int) -> str:
    return nginx_text(f'server {{ listen 127.0.0.1:{port}; return 200 "{word}"; }}')


def said(port: int) -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
        return str(answer.read().decode())


def wait_for(word: str, port: int) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline:
        try:
            if said(port) == word:
                return
        except OSError:
            pass
        time.sleep(0.02)
    raise AssertionError(f"never heard {word!r}")


@pytest.fixture
def running(nginx: Path, tmp_path: Path) -> Iterator[tuple[Nginx, int, "subprocess.Popen[bytes]"]]:
    port = free_port()
    one = Nginx(tmp_path / "a folder", saying("one", port))
    assert one.write()
    one.test()
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(one.command(), stdout=log, stderr=log)
    try:
        wait_for("one", port)
        yield one, port, process
    finally:
        process.terminate()
        process.wait(10)


def test_it_runs_in_the_foreground_and_follows_a_reload(
    running: tuple[Nginx, int, "subprocess.Popen[bytes]"],
) -> None:
    one, port, process = running
    assert one.pid() == process.pid
    assert not one.write()  # the same text: nothing to do
    two = Nginx(one.folder, saying("two", port))
    assert two.write()
    assert two.reload()
    wait_for("two", port)
    assert two.pid() == process.pid
    process.terminate()
    assert process.wait(10) == 0
    assert two.pid() is None
    assert not two.reload()
    assert not two.reload(process.pid)


def test_a_bad_configuration_is_refused_and_the_old_one_goes_on(
    running: tuple[Nginx, int, "subprocess.Popen[bytes]"],
) -> None:
    one, port, process = running
    bad = Nginx(one.folder, saying("two", port).replace("return", "retrun"))
    bad.write()
    with pytest.raises(ConfigError, match='unknown directive "retrun"'):
        bad.reload()
    time.sleep(0.2)
    assert said(port) == "one"
    assert process.poll() is None


def test_another_process_is_never_taken_for_it(
    running: tuple[Nginx, int, "subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    one, port, process = running
    other = Nginx(tmp_path / "other", saying("x", free_port()))
    other.write()
    # The number in its file belongs to another nginx, to this test, to nobody.
    for number in (process.pid, os.getpid(), 2**22 - 1, "x", ""):
        (other.folder / "nginx.pid").write_text(str(number))
        assert other.pid() is None
        assert not other.reload()
    assert not other.reload(process.pid)
    assert not one.reload(os.getpid())
    assert said(port) == "one"


def test_nothing_is_written_outside_its_folder(
    running: tuple[Nginx, int, "subprocess.Popen[bytes]"],
) -> None:
    one, _, process = running
    opened = {
        os.readlink(path)
        for path in Path(f"/proc/{process.pid}/fd").iterdir()
        if path.exists() or path.is_symlink()
    }
    written = {path for path in opened if path.startswith("/") and not path.startswith("/dev/")}
    assert all(Path(path).is_relative_to(one.folder.parent) for path in written)
    assert {path.name for path in one.folder.iterdir()} == {"nginx.conf", "nginx.pid", "temporary"}
    assert one.folder.stat().st_mode & 0o777 == 0o700
    assert one.conf.stat().st_mode & 0o777 == 0o600


def test_it_only_speaks_tls_1_3_and_resumes_nothing() -> None:
    text = nginx_text("")
    for line in (
        "ssl_protocols TLSv1.3;",
        "proxy_ssl_protocols TLSv1.3;",
        "ssl_session_cache off;",
        "ssl_session_tickets off;",
        "server_tokens off;",
    ):
        assert f"    {line}\n" in text


@pytest.mark.usefixtures("nginx")
def test_without_nginx_it_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert find_nginx().name == "nginx"
    monkeypatch.setenv("PATH", str(tmp_path))
    assert find_nginx() == Path("/usr/sbin/nginx")  # which a user's PATH often lacks
    monkeypatch.setattr(module, "_PLACES", ())
    with pytest.raises(ConfigError, match="apt install"):
        find_nginx()


@pytest.mark.parametrize(
    "text", ['a"b', "a'b", "a\\b", "$host", "a;b", "{", "}", "a\nb", "", "\x00"]
)
def test_what_means_something_to_nginx_is_not_quoted(text: str) -> None:
    with pytest.raises(ConfigError):
        quoted(text)


def test_a_path_with_spaces_is(tmp_path: Path) -> None:
    assert quoted(Path("/a folder/ümlaut.crt")) == '"/a folder/ümlaut.crt"'
