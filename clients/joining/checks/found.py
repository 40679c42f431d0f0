"""What one check finds out and the later ones use."""

from dataclasses import dataclass
from functools import cached_property

from clients.home import Home
from clients.joining.keys import Keys
from clients.joining.reach import Reached, reach
from clients.platform_record import promise
from clients.policy import Policy
from clients.prepare import Progress, pseudonym_secret
from clients.settings import ClientFolder, ClientSettings
from clients.sources.ingest import Ingested, ingest
from shared.enrolment import Enrolment


@dataclass
class Found:
    """Everything is read when it is first asked for.

    Args:
        folder: the partner's.
        progress: called with (what, done, total) by long checks.
    """

    folder: ClientFolder
    progress: Progress

    @cached_property
    def home(self) -> Home:
        """The folder, opened."""
        return Home.open(self.folder.path)

    @cached_property
    def enrolment(self) -> Enrolment:
        """What the coordinator sent back."""
        return self.home.enrolment()

    @cached_property
    def data(self) -> Ingested:
        """The log, as it would be learned from."""
        secret = pseudonym_secret(
            self.folder.platform, self.home.settings.unsafe.seed, self.home.name
        )
        return ingest(self.home.settings.source, secret)

    @cached_property
    def reached(self) -> Reached:
        """What the gateway answered."""
        return reach(self.enrolment, self.keys)

    @cached_property
    def policy(self) -> Policy:
        """The partner's."""
        return self.home.settings.policy

    @property
    def settings(self) -> ClientSettings:
        """`client.toml`."""
        return self.home.settings

    @property
    def keys(self) -> Keys:
        """The keys."""
        return self.home.keys

    @cached_property
    def promised(self) -> tuple[float, float]:
        """(delta, noise_multiplier) of the promise."""
        population = self.settings.platform.population
        federation = self.enrolment.federation
        return promise(federation.privacy, population, federation.training.rounds)
