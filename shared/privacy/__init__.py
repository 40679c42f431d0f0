"""Differential privacy: sampling, clipping, noise, accounting and the record of spending."""
