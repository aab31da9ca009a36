"""The Control Plane: knows and decides everything, does nothing on a node. Layers: api > lifecycle > platform > store."""
