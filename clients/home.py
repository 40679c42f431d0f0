"""A partner's folder, opened: settings, keys, enrolment, policy, ledgers and their anchor."""

import json
import os
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from clients.joining.keys import Keys
from clients.policy import FILE as POLICY
from clients.policy import Policy
from clients.settings import PAUSED, ClientFolder, ClientSettings, policy_values
from shared.config.base import Settings
from shared.enrolment import Enrolment
from shared.errors import ConfigError, ProtocolError, RunError
from shared.files import sha256, write_json, write_text

if TYPE_CHECKING:  # accountants and torch take seconds to import
    from clients.node.gate import Gate
    from clients.platform import Platform
    from clients.prepare import Progress
    from clients.spending.anchor import Anchor
    from clients.spending.promises import Promises

PREPARED = "prepared.json"
_CACHE = "FEDINTEREST_CACHE"


def cache_folder() -> Path:
    """This machine's cache of what is made of public texts and models."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(os.environ.get(_CACHE) or Path(base) / "fedinterest")


@dataclass(frozen=True)
class Home:
    """One partner's.

    Args:
        folder: where everything lies.
        settings: `client.toml` as it was when it was opened.
    """

    folder: ClientFolder
    settings: ClientSettings

    @classmethod
    def open(cls, path: Path) -> "Home":
        """Open the folder at `path`.

        Raises:
            SourceError, ConfigError: there is no valid client.toml.
        """
        folder = ClientFolder.at(path)
        return cls(folder, folder.settings())

    @property
    def name(self) -> str:
        """The platform's name."""
        return self.settings.platform.name

    @property
    def keys(self) -> Keys:
        """The keys."""
        return Keys(self.folder.keys, self.name, self.settings.unsafe.seed)

    @property
    def promises(self) -> "Promises":
        """The ledgers."""
        from clients.spending.promises import Promises

        return Promises(self.folder.ledgers, self.name)

    @property
    def anchor(self) -> "Anchor":
        """What the ledgers are held against."""
        from clients.spending.anchor import Anchor, default_path

        path = self.settings.ledger.anchor
        return Anchor(default_path(self.keys.signing.public.id) if path is None else path)

    @property
    def paused(self) -> Path:
        """A file that is there while the partner has paused."""
        return self.folder.state / PAUSED

    @property
    def cache(self) -> Path:
        """Where encoded catalogues are kept: public texts' vectors, by content."""
        return cache_folder()

    def enrolment(self) -> Enrolment:
        """What the coordinator sent back.

        Raises:
            RunError: nothing is there yet.
            ProtocolError: it is damaged, or for another platform.
        """
        try:
            text = self.folder.enrolment.read_text(encoding="utf-8")
        except OSError as error:
            raise RunError(
                expected="the coordinator's answer, enrolment.json",
                got=error.strerror or "none",
                where=str(self.folder.enrolment),
                remedy="Send request.json to the coordinator; give what comes back to "
                "`fedinterest-client check --enrolment FILE`.",
            ) from error
        found = Enrolment.read(text)
        if found.name != self.name:
            raise ProtocolError(
                expected=f"an enrolment of {self.name}",
                got=f"one of {found.name}",
                where=str(self.folder.enrolment),
            )
        return found

    def enrol(self, file: Path) -> Enrolment:
        """Keep what the coordinator sent back, once it has been found right.

        Raises:
            RunError: the file is missing, or its certificate belongs to another key.
            ProtocolError: it is damaged, or for another platform.
        """
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RunError(
                expected="an enrolment file", got=type(error).__name__, where=str(file)
            ) from error
        found = Enrolment.read(text)
        if found.name != self.name:
            raise ProtocolError(
                expected=f"an enrolment of {self.name}", got=f"one of {found.name}", where=str(file)
            )
        self.keys.install(found.certificate_pem, found.ca_pem)
        write_text(self.folder.enrolment, text)
        return found

    def policy(self) -> Policy:
        """The partner's policy as client.toml has it now; also put where the platform reads it.

        Raises:
            SourceError, ConfigError: client.toml cannot be read: then nothing is permitted.
        """
        policy = self.folder.settings().policy
        if self.folder.platform.is_dir():
            path, values = self.folder.platform / POLICY, policy_values(policy)
            if not path.is_file() or json.loads(path.read_text(encoding="utf-8")) != values:
                write_json(path, values)
        return policy

    def gate(self) -> "Gate":
        """What comes in and goes out."""
        from clients.node.gate import Gate

        return Gate(
            platform=self.folder.platform,
            policy=self.policy,
            promises=self.promises,
            anchor=self.anchor,
            paused=self.paused,
            rounds=self.folder.state / "rounds.json",
            now=lambda: datetime.now().astimezone(),
        )

    def forgotten(self) -> set[str]:
        """Pseudonyms of users who were forgotten, or who have opted out while they are served.

        Raises:
            RunError: a receipt or the list is damaged: it is not known who must be left out.
        """
        from clients.lists import Lists
        from clients.receipts import receipts

        forgotten = {receipt.pseudonym for receipt in receipts(self.folder.receipts)}
        return forgotten | Lists.of(self).names()

    def prepared_for(self) -> str:
        """Hash of what the platform folder is made from, besides the log itself."""
        from clients.spending.promises import terms_sha256

        enrolment, settings = self.enrolment(), self.settings
        made_from: dict[str, object] = {
            "terms": terms_sha256(self.name, enrolment.federation, enrolment.ca_pem),
            "seed": settings.unsafe.seed,
        }
        parts: tuple[tuple[str, Settings], ...] = (
            ("events", settings.events),
            ("items", settings.items),
            ("cleaning", settings.cleaning),
            ("training", settings.training),
        )
        # Not the opt-out list: `forget` rewrites what is prepared, and need not read it all.
        made_from |= {
            name: part.model_dump(mode="json", exclude={"opt_out"}) for name, part in parts
        }
        return sha256(json.dumps(made_from, sort_keys=True).encode())

    def is_prepared(self) -> bool:
        """Whether DIR/platform is whole, and made for the present enrolment and settings."""
        try:
            made = json.loads((self.folder.state / PREPARED).read_text(encoding="utf-8"))["for"]
        except (OSError, ValueError, KeyError, TypeError):
            return False
        return (self.folder.platform / "platform.json").is_file() and made == self.prepared_for()

    def prepare(self, progress: "Progress") -> "Platform":
        """Make DIR/platform if it is not there, or not for the present enrolment and settings.

        Raises:
            LedgerError: the ledgers are damaged or behind their anchor.
            FedInterestError: see `clients.prepare.prepare_platform`.
        """
        from clients.forget import idle
        from clients.platform import Platform

        self.anchor.follow(self.folder.ledgers, self.promises.records())
        if self.is_prepared():
            return Platform.open(self.folder.platform)
        # Who opts out meanwhile is taken up afterwards, not from what is about to be replaced.
        with idle(self.folder.state):
            return self._prepare(progress)

    def _prepare(self, progress: "Progress") -> "Platform":
        from clients.prepare import prepare_platform
        from clients.spending.promises import terms_sha256

        enrolment = self.enrolment()
        terms = terms_sha256(self.name, enrolment.federation, enrolment.ca_pem)
        ledger = self.promises.ledger_for(terms)
        # One log of statements a promise: its places are counted from the promise's first round.
        journals = self.folder.record
        if (suffix := ledger.stem.removeprefix(self.name)) != "":
            journals = self.folder.record / suffix.removeprefix("-")
        made = prepare_platform(
            self.folder,
            self.settings,
            enrolment.federation,
            ledger=ledger,
            journals=journals,
            forgotten=self.forgotten(),
            cache=self.cache,
            progress=progress,
        )
        if self.settings.unsafe.seed is None:
            self._give_key(made.folder / "signing.key")
        self.policy()
        write_json(self.folder.state / PREPARED, {"for": self.prepared_for()})
        return made

    def _give_key(self, path: Path) -> None:
        """The platform signs with the partner's key: one file under two names where it can be."""
        path.unlink(missing_ok=True)
        try:
            os.link(self.keys.signing_key, path)
        except OSError as error:
            raise ConfigError(
                expected="keys/ and platform/ on one file system",
                got=error.strerror or "",
                where=str(path),
            ) from error
