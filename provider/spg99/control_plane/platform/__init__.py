"""The platform's nouns, one module each: functions that take a transaction first. Not here: HTTP, decisions about life."""
