"""The Control Plane: knows and decides everything, does nothing on a node. Layers: domains (one folder each) >
serving > records > store; `server.py` puts them together."""
