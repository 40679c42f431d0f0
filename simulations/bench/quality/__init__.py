"""How well every system of a benchmark ranks: outcomes, measures, statistics, table and page."""
