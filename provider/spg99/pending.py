"""How the embedded engine asks a provider what became of a create that nobody saw the end of: the words of the question, which
both sides must know. Not here: asking (engine/settling.py), finding the answer (bridges).

Pulumi's protocol has no such question, so it is a Read with an id that no object has, the create's inputs and its URN. The answer
is marked, because a provider that does not know the question must not be taken at its word: its properties hold `ANSWER`, either
`{"made": False}`, or `{"made": True}` beside the object, with `unfinished` saying what is missing when it is not settled yet.
"""

from __future__ import annotations

WAS_IT_MADE = "spg99:was-it-made"
"""Changes nothing: a preview may ask it while the create is still under way."""
WAS_IT_MADE_ELSE_NEVER = "spg99:was-it-made-else-never"
"""Also withdraws a create that has not arrived: a request that is still on its way makes nothing any more."""
QUESTIONS = (WAS_IT_MADE, WAS_IT_MADE_ELSE_NEVER)
ANSWER = "__wasMade"
