"""Emitters: from the one truth to the files for readers who cannot run our code. Not here: the truth (resources/, config.py)."""
