"""What an auditor asks of a run, or of this installation; one audit a module.

Each module answers with a plain dict (what `--json` prints and `RUN/audit/NAME.json` keeps) that
has `ok`, and renders it for people with `render`.
"""
