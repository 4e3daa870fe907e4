"""Layer 3: observers, told of events; they inform people and files, and never steer."""
