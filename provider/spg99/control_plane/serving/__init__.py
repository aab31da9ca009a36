"""HTTP of all domains: who calls, answers, problems, pages, idempotency, events. Not here: a domain's own routes or rules."""
