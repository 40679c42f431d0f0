"""Audit statistics: from what an attacker scored and guessed to a lower bound on epsilon.

Pure functions of numbers; who trains, and with which canaries, is `simulations.audits`.
"""
