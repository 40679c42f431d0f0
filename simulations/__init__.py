"""The whole federation on one machine: worlds, engines, baselines, evaluation, reports."""
