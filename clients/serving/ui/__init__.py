"""The platform's own page: what it is served, shown to the people who answer for it.

A browser on the same machine asks; `http.py` lets it in, `pages.py` decides what it sees, and the
engine that answers is opened in this process over the same files as a running service's, which
goes on beside it.  Nothing is written but what `earlier.py` keeps of the model, and what texts of
new items read as.
"""
