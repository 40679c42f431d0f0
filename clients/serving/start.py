"""`fedinterest-client serve`: from a folder to a service.

The folder is a partner's (with client.toml), or a platform of a simulation's run, which is
RUN/platforms/NAME.
"""

import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from clients.serving.answers import Forgotten
from clients.serving.live.store import FILE, Live
from clients.serving.service.settings import ServingSettings
from clients.serving.snapshot.encoder import EncoderMeta
from clients.serving.snapshot.head import NAME as HEAD
from clients.serving.snapshot.head import Head
from clients.serving.snapshot.snapshot import Snapshot
from clients.stamp import FILES, stamp
from shared.config.federation import run_federation
from shared.config.training import Interpolation
from shared.errors import ConfigError, FedInterestError, RunError
from shared.files import sha256

CLIENT, PLATFORM = "client.toml", "platform.json"
_PACKAGES = ("grpc", "grpc_health", "grpc_reflection", "numkong", "faiss")


@dataclass(frozen=True, kw_only=True)
class Served:
    """What is served, and where its parts lie.

    Args:
        platform: the platform's folder.
        serving: folder of snapshots and of the live store.
        encoders: folder of exported text encoders: in the machine's cache, for all platforms.
        parts: `PublicSettings.interpolation`.
        settings: `[serving]`.
        home: the partner's folder; None for a platform of a simulation.
    """

    platform: Path
    serving: Path
    encoders: Path
    parts: Interpolation
    settings: ServingSettings
    home: Path | None

    @classmethod
    def at(cls, folder: Path) -> "Served":
        """What lies in `folder`.

        Raises:
            RunError: nothing that could be served.
            FedInterestError: its settings cannot be read, or it is not enrolled.
        """
        from clients.home import Home, cache_folder

        path = folder.expanduser().resolve()
        encoders = cache_folder() / "encoders"
        if (path / CLIENT).is_file():
            home = Home.open(path)
            if not (home.folder.platform / PLATFORM).is_file():
                raise RunError(
                    expected="a prepared platform",
                    got="none",
                    where=str(home.folder.platform),
                    remedy="`fedinterest-client up` prepares it.",
                )
            return cls(
                platform=home.folder.platform,
                serving=path / "serving",
                encoders=encoders,
                parts=home.enrolment().federation.interpolation(home.name),
                settings=home.settings.serving,
                home=path,
            )
        if (path / PLATFORM).is_file():
            federation = run_federation(path.parents[1])
            return cls(
                platform=path,
                serving=path / "serving",
                encoders=encoders,
                parts=federation.interpolation(path.name),
                settings=ServingSettings(),
                home=None,
            )
        raise RunError(
            expected=f"a partner's folder, or a simulated platform's, with {CLIENT} or {PLATFORM}",
            got="neither",
            where=str(path),
            remedy="For a simulation give RUN/platforms/NAME.",
        )

    @property
    def secret(self) -> bytes:
        """What pseudonyms are keyed with.

        Raises:
            RunError: it is missing.
        """
        path = self.platform / "pseudonym.secret"
        try:
            return path.read_bytes()
        except OSError as error:
            raise RunError(
                expected="the platform's secret", got=error.strerror or "none", where=str(path)
            ) from error

    def newest(self, making: Callable[[], None] = lambda: None) -> Snapshot:
        """The snapshot of what the platform has now; made, if need be, by a process of its own:
        making one takes torch, and more memory than serving.

        Args:
            making: is told before one is made, which takes a while.

        Raises:
            RunError: it could not be made; what the maker said is in the message.
        """
        stamp = self._stamp()
        if (found := self._made(stamp)) is not None:
            return found
        making()
        done = subprocess.run(
            [sys.executable, "-m", "clients.serving.snapshot.make"],
            input=json.dumps(
                {
                    "platform": str(self.platform),
                    "folder": str(self.serving / "snapshots"),
                    "parts": dataclasses.asdict(self.parts),
                    "encoders": str(self.encoders),
                    "kept": str(self._kept),
                    "stamp": stamp,
                }
            ),
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RunError(
                expected="a snapshot",
                got=done.stderr.strip().splitlines()[-1][:300] if done.stderr.strip() else "none",
                where=str(self.serving),
            )
        return Snapshot.open(self.serving / "snapshots" / done.stdout.strip())

    def _made(self, stamp: str) -> Snapshot | None:
        """The snapshot that was made of files with this stamp."""
        try:
            values = self._values()
            if values["stamp"] != stamp:
                return None
            return Snapshot.open(self.serving / "snapshots" / str(values["id"]))
        except (OSError, ValueError, KeyError, TypeError, FedInterestError):
            return None

    @property
    def _kept(self) -> Path:
        return self.serving / "newest.json"

    def _values(self) -> dict[str, Any]:
        """What the maker wrote beside the newest snapshot.

        Raises:
            OSError, ValueError: nothing, or something else.
        """
        found = json.loads(self._kept.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("not an object")
        return found

    def no_texts(self) -> str:
        """Why texts cannot be read for the newest snapshot; "" where they can."""
        try:
            return str(self._values().get("no_texts", ""))
        except (OSError, ValueError):
            return "the newest snapshot was not finished"

    def look_again(self) -> None:
        """Where texts could not be read, or the exported encoder is gone, the next `newest` sees to
        it again: a package may have been installed, or a model may be there now.
        """
        try:
            place = self.serving / "snapshots" / str(self._values()["id"])
            name = Head.read(place / HEAD).encoder
            if name:
                EncoderMeta.read(self.encoders / name)
            again = bool(self.no_texts())
        except (OSError, ValueError, KeyError, FedInterestError):
            again = True
        if again:
            self._kept.unlink(missing_ok=True)

    def forget(self, user_id: str) -> Forgotten:
        """Take a user out of what is trained on, and sign a receipt; in a process of its own.

        Raises:
            RunError: it could not be done; what was said is in the message.
        """
        if self.home is None:
            raise RunError(expected="a partner's folder", got="none", where="Forget")
        done = subprocess.run(
            [sys.executable, "-m", "clients.serving.leave", str(self.home)],
            input=user_id,  # not an argument: other users of the machine can read those
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise RunError(
                expected="a user who is forgotten",
                got="a failure",
                where="Forget",
                remedy="See `fedinterest-client forget`.",
            )
        found = json.loads(done.stdout)
        return Forgotten(receipt=Path(found["receipt"]).read_bytes(), found=bool(found["found"]))

    @contextmanager
    def learning(self, live: Live) -> Iterator[Callable[[str, bool], None] | None]:
        """Has users opted out of training, or in again; None for a platform of a simulation.

        At the start what the lists say is taken over, and what is pending is taken up.

        Raises:
            FedInterestError: a list or a receipt cannot be read.
        """
        if self.home is None:
            yield None
            return
        from clients.home import Home
        from clients.serving.live.background import Background
        from clients.serving.live.consent import follow, opt_in, opt_out

        home, background = Home.open(self.home), Background(self.home)

        def learn(user_id: str, wanted: bool) -> None:
            (opt_in if wanted else opt_out)(home, live, user_id)
            if not wanted:
                background.ask()

        follow(home, live)
        if live.pending():
            background.ask()
        try:
            yield learn
        finally:
            background.stop()

    def _stamp(self) -> str:
        """Changes whenever a file that a snapshot is made from was replaced."""
        files = [self.platform / name for name in FILES]
        files += sorted(self.platform.glob("*.safetensors"))  # delivered
        files += sorted((self.platform / "released").glob("*.safetensors"))
        return sha256(repr((self.parts, stamp(files))).encode())


def run(folder: Path, *, address: str | None = None, json_address: str | None = None) -> int:
    """Serve what lies in `folder` until told to stop; the exit code.

    Args:
        address, json_address: in the place of the settings'.

    Raises:
        ConfigError: a package of the extra `serving` is missing, or an address is not sound.
        FedInterestError: see `Served.at` and `Served.newest`.
    """
    missing = [name for name in _PACKAGES if find_spec(name) is None]
    if missing:
        raise ConfigError(
            expected="the packages of the extra `serving`",
            got=f"no {missing[0]}",
            where="fedinterest-client serve",
            remedy="pip install 'fedinterest[serving]'",
        )
    from clients.serving.answering import Engine
    from clients.serving.service.serve import Places, serve
    from clients.serving.state_cache import StateCache
    from clients.serving.texts import Texts

    served = Served.at(folder)
    changes = {"address": address, "json_address": json_address}
    settings = served.settings.replace(
        **{name: value for name, value in changes.items() if value is not None}
    )
    served.look_again()

    def making() -> None:
        print("making a snapshot of what the platform has: seconds to minutes", file=sys.stderr)

    with closing(Live(served.serving / FILE)) as live, served.learning(live) as learn:
        texts = Texts(
            live,
            StateCache(served.serving / "texts.db"),
            served.encoders,
            no_texts=served.no_texts,
        )
        engine = Engine(
            partial(served.newest, making),
            live,
            served.secret,
            blocked_items=settings.blocked_items,
            blocked_categories=settings.blocked_categories,
            forget=None if served.home is None else served.forget,
            learn=learn,
            texts=texts,
        )

        def started(places: Places) -> None:
            told = engine.status()
            model = f"round {told.round}" if told.round else "frozen model"
            print(f"{told.platform}, {model}: {told.items:,} items, {told.users:,} users")
            if texts.trouble:
                print(f"no Intent, no PutItems: {texts.trouble}")
            if texts.left_out:
                print(f"{texts.left_out:,} new items are left out until their texts can be read")
            print(f"gRPC http://{places.grpc}")
            if places.json:
                print(f"JSON http://{places.json}/v1/status")
            print(f"metrics http://127.0.0.1:{places.operations}/metrics", flush=True)

        return serve(engine, settings, log_path=served.serving / "log.jsonl", started=started)
