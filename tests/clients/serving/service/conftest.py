"""A service over a small world, and ways to ask it."""

from collections.abc import Iterator

import pytest

from clients.serving.service.client import ServingClient
from clients.serving.service.serve import Service
from tests.clients.serving.service.world import World, serving


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def service(world: World) -> Iterator[Service]:
    with serving(world) as made:
        yield made


@pytest.fixture
def client(service: Service) -> Iterator[ServingClient]:
    with ServingClient(service.places.grpc, deadline_s=20.0) as made:
        yield made
