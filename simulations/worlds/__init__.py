"""Worlds to run a federation in: raw logs of made-up platforms with real-looking text."""

from simulations.worlds.demo import write_demo_world

__all__ = ["write_demo_world"]
