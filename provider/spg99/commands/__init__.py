"""The command line, on top of everything. Here: commands. Not here: what they do (each calls one room below).

`contents.py` is the table of contents; nothing else is imported until a command is chosen.
"""
