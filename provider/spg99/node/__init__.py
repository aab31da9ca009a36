"""What runs on a node: the agent that pulls tasks and the handlers that carry them out. Not here: any decision."""
