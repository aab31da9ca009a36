"""Behaviours that bridges promise, and the page that says which are shown. Not here: the tests themselves."""
