"""`spg99 orphans`: objects that a stack or state made and does not hold. Here: finding them (rules.py), reading states (states.py), the command."""
