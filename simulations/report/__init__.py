"""A run as one self-contained web page: `write_report(run_folder)` writes `report.html`."""

from simulations.report.page import write_report

__all__ = ["write_report"]
